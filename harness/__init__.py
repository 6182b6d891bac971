"""The machine: tables become jobs, jobs become measurements, measurements become the same tables again.

It knows no method by name; `methods/` does. Nothing here imports torch at module level except the rooms that compute
(`training`, `evaluation`, `complexity`).
"""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: the folder that holds `harness/`, `methods/` and `tables/`."""

# no plugin of pydantic is used, and looking for them reads every installed package's metadata at each start
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
