"""The papers' methods and their baselines. One idea, one file; independent of devices and scheduling."""
