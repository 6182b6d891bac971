"""The templates of the documents: Markdown with Jinja's own delimiters, LaTeX with ones that mean nothing there."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.text import markdown, sentence

if TYPE_CHECKING:
    import jinja2

FOLDER = Path(__file__).parent / "templates"
_LATEX = {
    "block_start_string": "<%",
    "block_end_string": "%>",
    "variable_start_string": "<<",
    "variable_end_string": ">>",
    "comment_start_string": "<#",
    "comment_end_string": "#>",
}


@functools.cache
def markdown_templates() -> jinja2.Environment:
    """Filters: `md` shows foreign text as it is, `sentence` gives it a capital and a full stop."""
    return _environment({}, {"md": markdown, "sentence": sentence})


@functools.cache
def latex_templates(escape: Callable[[str], str]) -> jinja2.Environment:
    """Filters: `tex`, which is `escape`, and `sentence`."""
    return _environment(_LATEX, {"tex": escape, "sentence": sentence})


def _environment(delimiters: Mapping[str, Any], filters: Mapping[str, Callable[[str], str]]) -> jinja2.Environment:
    import jinja2  # loads slowly: only for a document

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        **delimiters,
    )
    environment.filters.update(filters)
    return environment
