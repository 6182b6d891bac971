"""One thread, so that small trainings are quick on a shared machine; no deadlines, for the same reason."""

import hypothesis
import torch

hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")
torch.set_num_threads(1)
