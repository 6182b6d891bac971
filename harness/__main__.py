"""`python -m harness`"""

import gc
import sys

from harness.cli.main import main

if __name__ == "__main__":
    # what a command loads at its start lives as long as it does: looking through it for cycles again and again is a
    # tenth of a short command's time
    gc.set_threshold(100_000)
    sys.exit(main())
