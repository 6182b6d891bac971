"""What pyproject.toml cannot say: an installation has no checkout beside it, so a wheel carries the tables, with their recipes
and profiles, and the commit that it was built from. `harness.SHIPPED` is where they are."""

import json
import sys
from pathlib import Path

from setuptools import find_namespace_packages, setup
from setuptools.command.build_py import build_py


class BuildWithCommit(build_py):
    """Copies the packages, and notes their commit as a copy of the code for queued jobs does."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # the checkout itself
            return
        sys.path.insert(0, str(Path(__file__).parent))
        from harness import environment

        commit, dirty = environment.commit()
        note = Path(self.build_lib, "harness", "shipped", "commit.json")
        note.write_text(json.dumps({"commit": commit, "dirty": dirty}), encoding="utf-8")


packages = find_namespace_packages(include=["harness*", "methods*", "reports*"])
setup(packages=[*packages, "harness.shipped.tables"], cmdclass={"build_py": BuildWithCommit})
