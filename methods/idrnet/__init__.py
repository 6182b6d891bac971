"""IDRNet: intervention-driven relation network (Jin et al. 2023, arXiv 2310.10755)."""
