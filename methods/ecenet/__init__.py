"""ECENet (Liu et al., ICCV 2023): one file per idea; `method.py` registers the names."""
