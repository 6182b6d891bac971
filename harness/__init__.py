"""The machine: tables become jobs, jobs become measurements, measurements become the same tables again.

It knows no method by name; `methods/` does. Nothing here imports torch at module level except the rooms that compute
(`training`, `evaluation`, `complexity`).
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: the folder that holds `harness/`, `methods/` and `tables/`."""
