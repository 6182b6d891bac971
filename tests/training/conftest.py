"""One thread, so that small trainings are quick on a shared machine and repeat bit for bit."""

import torch

torch.set_num_threads(1)
