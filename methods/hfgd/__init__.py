"""HFGD (Huang et al. 2024, arXiv 2303.08646): an upsampler guided by the class tokens of the high-level features."""
