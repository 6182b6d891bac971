"""Label readers outside the checkout: `path/to/file.py:NAME`, a function from the path of a label file to its raw values.

The file and the helper modules beside it are found, loaded and copied as a method's are (harness.jobs.outside), and their
content is in the key of the jobs whose data they read.

    def read_labels(path: str) -> np.ndarray:   # integers from 0 on, [H, W]; any file format, the same values each time
"""

from __future__ import annotations

import ast
import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import DataError, UserError
from harness.jobs import outside, outside_names
from harness.jobs.key import read_imports

if TYPE_CHECKING:
    import numpy as np

_FORM = re.compile(r".+\.py:[A-Za-z_]\w*")


@dataclass(frozen=True)
class OwnReader:
    """Where a reader is: its module's name in keys, the file (in a copy of the code, that one), and the function's name."""

    module: str
    file: Path
    name: str

    def load(self) -> Callable[[str], np.ndarray]:
        """The function, with its contract checked at every call. UserError where its file cannot be imported."""
        try:
            function = getattr(outside.load(self.module, self.file, read_imports), self.name, None)
        except UserError:
            raise
        except Exception as error:  # whatever a file of someone's own may raise
            raise UserError(f"{self._line(error)}: cannot be imported: {type(error).__name__}: {error}") from error
        if not callable(function):
            raise UserError(f"{self.file}: '{self.name}' is no function")

        def read(path: str) -> np.ndarray:
            try:
                raw = function(path)
            except DataError:
                raise
            except Exception as error:
                where = f"{self._line(error)}: {type(error).__name__}: {error}"
                raise DataError(f"{path}: cannot be read by '{self.name}' ({where})") from error
            return self._checked(path, raw)

        return read

    def _checked(self, path: str, raw: object) -> np.ndarray:
        """`raw` where it is as a reader owes it, its values unchanged; else DataError."""
        import numpy as np  # loads slowly: a plan, which only finds readers, does without

        seen = f"{raw.dtype} {list(raw.shape)}" if isinstance(raw, np.ndarray) else type(raw).__name__
        sound = isinstance(raw, np.ndarray) and raw.ndim == 2 and raw.dtype.kind in "iu" and raw.size > 0
        if not sound or (isinstance(raw, np.ndarray) and int(raw.min()) < 0):
            least = f", the least of them {raw.min()}" if sound and isinstance(raw, np.ndarray) else ""
            raise DataError(
                f"{path}: '{self.file.name}:{self.name}' gives {seen}{least}; a label reader gives a NumPy array of integers "
                "from 0 on, [H, W]"
            )
        assert isinstance(raw, np.ndarray)
        return np.ascontiguousarray(raw, np.uint8 if raw.dtype == np.uint8 else np.int64)

    def _line(self, error: Exception) -> str:
        """FILE:LINE where an error arose in the reader's file; of one that arose elsewhere, line 1."""
        if isinstance(error, SyntaxError) and error.filename:
            return f"{error.filename}:{error.lineno or 1}"
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(self.file)]
        return f"{self.file}:{(lines or [1])[-1]}"


def find(name: str) -> OwnReader:
    """The reader called `path/to/file.py:NAME`; imports nothing. UserError where there is no such file, or no such function."""
    short = outside_names.without_folder(name)
    subject = f"label reader '{short}'"
    if _FORM.fullmatch(name) is None:
        raise UserError(f"{subject}: expected is path/to/file.py:NAME")
    path, _, function = name.rpartition(":")
    file = outside_names.original(path)
    place, module = outside_names.copy_of(file, subject) or (file, outside.module_name(file))
    outside.check_file(place, subject)
    try:
        tree = ast.parse(place.read_bytes(), filename=str(place))
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{place}:{getattr(error, 'lineno', None) or 1}: not Python: {error}") from None
    if function not in _top_level_names(tree):
        defined = sorted(node.name for node in tree.body if isinstance(node, ast.FunctionDef))
        raise UserError(f"{subject}: {file} defines no '{function}'; its functions are {', '.join(defined) or 'none'}")
    return OwnReader(module, place, function)


def _top_level_names(tree: ast.Module) -> set[str]:
    """What the top level of a file defines, assigns or imports."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        else:
            names |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return names
