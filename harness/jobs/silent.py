"""Modules that a job reaches and that cannot move what it measures: none of them is in a key, each with its reason.

tests/jobs/test_silent.py edits every one of them in a copied checkout and asks for the same training and test, bit for
bit; a module that is added here needs its edit there. What a silent module imports counts only where others import it.
"""

SILENT = {
    "harness": "names the checkout's folder",
    "harness.errors": "messages and exit codes",
    "harness.files": "writes and reads what others computed",
    "harness.torch_file": "refuses hostile files before they are loaded; of good ones it changes nothing",
    "harness.jobs.context": "where a job runs and how it says how far it is",
    "harness.jobs.job": "how a job and its measurements are handed over",
    "harness.jobs.kinds": "how a job is handed over; the configuration itself is in the key, with every default",
    "harness.jobs.tasks": "names the parts of a task; those that run a job are in its key as modules",
    "harness.data.annotations.own_reader": "finds a label reader by name; the module found is in the key",
    "harness.data.catalogue": "finds a declaration by name; what a job uses of it is in the key, as data",
    "harness.data.verify": "refuses bad files before a job starts; of good ones it changes nothing",
    "harness.tasks.segmentation.step_checks": "refuses or announces a training before its first step",
    "harness.tasks.segmentation.preflight": "refuses a model that breaks the contract; what a sound one gives it passes on",
    "harness.training.data_workers": "signals and threads of the processes that prepare batches",
    "harness.data.integrity": "finds damaged files before a job starts; of good ones it changes nothing",
    "harness.training.memory": "explains a training that does not fit into memory",
    "harness.training.loggers": "finds what shows the curve elsewhere too",
    "harness.training.tensorboard": "shows the curve elsewhere too",
    "harness.training.trackers": "shows the curve elsewhere too",
    "methods.registry": "finds a method by name; the module found is in the key",
    "methods.backbones": "finds a family by name; the module found is in the key",
    "methods.pretrained": "finds a file of weights; the file's content is in the key",
}
