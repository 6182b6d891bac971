"""Other toolboxes that train and test a row from beginning to end: the control of this harness's own core.

One file each, `train_and_test(work) -> {metric: value}` and `refusals(config) -> reasons`, found by name like a method.
"""
