"""The machine: tables become jobs, jobs become measurements, measurements become the same tables again.

It knows no method by name; `methods/` does. Nothing here imports torch at module level except the rooms that compute
(`training`, `tasks`). In a notebook, `harness.results()` gives what is measured.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: the folder that holds `harness/`, `methods/` and `tables/`."""

# no plugin of pydantic is used, and looking for them reads every installed package's metadata at each start
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


def results(results: str | os.PathLike[str] = "results") -> pd.DataFrame:
    """All measurements of a results folder, one row each; empty where nothing is measured.

    Columns: key, identity, kind, name, value, unit, convention, method, dataset, profile, seed, device, commit, started,
    seconds, and the job's folder; `harness.store.export.COLUMNS` says what they hold and their dtypes. mIoU per method:

        measured = harness.results()
        measured[measured.name == "miou"].groupby(["dataset", "method"]).value.describe()
    """
    from harness.store.export import frame  # pandas, which no command but `export` needs
    from harness.store.store import Store

    return frame(Store(Path(results).expanduser()))
