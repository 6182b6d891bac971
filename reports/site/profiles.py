"""Sites of several profiles side by side: each page leads to the same page under the other profiles, in both directions.

A site is written as `site` (profile paper) or `site.PROFILE`. One that is written later is linked from the earlier ones, too:
what stands between two marks of their pages is replaced.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from harness.errors import OutputError
from harness.files import write_text

_BEGIN, _END = "<!-- profiles -->", "<!-- end of profiles -->"  # no text of a page holds these: `<` is escaped
_PLAIN = re.compile(r"[A-Za-z0-9_-]+")

Sites = Sequence[tuple[str, Path]]  # (profile, folder)


def is_site(folder: Path) -> bool:
    """Whether a folder holds a site."""
    return (folder / "assets" / "site.js").is_file()


def other_sites(folder: Path, profile: str) -> Sites:
    """The sites of other profiles beside `folder`, where it has the name that it gets without --out; paper first."""
    if folder.name not in ("site", f"site.{profile}"):
        return []
    found = []
    for other in sorted(folder.parent.glob("site*")):
        name = "paper" if other.name == "site" else other.name.removeprefix("site.")
        if other != folder and is_site(other) and _PLAIN.fullmatch(name):
            found.append((name, other))
    return found


def links(page: str, profile: str, others: Sites) -> str:
    """The line of a page (its path from the site's root) that names its profile and leads to the same page under the others;
    between its marks nothing where no other site has the page."""
    there = [(name, folder) for name, folder in others if (folder / page).is_file()]
    if not there:
        return _BEGIN + _END
    up = "../" * (page.count("/") + 1)
    names = [f'<b aria-current="true">{escape(profile)}</b>']
    names += [f'<a href="{up}{folder.name}/{page}">{escape(name)}</a>' for name, folder in there]
    return f'{_BEGIN}<nav class="profiles" aria-label="Profile">Profile {" · ".join(names)}</nav>{_END}'


def link_back(others: Sites) -> None:
    """Has the pages of these sites lead to what lies beside them now. A site that cannot be changed keeps its links."""
    for profile, folder in others:
        beside = other_sites(folder, profile)
        for file in _pages(folder):
            with contextlib.suppress(OSError, UnicodeDecodeError, OutputError):
                text = file.read_text(encoding="utf-8")
                before, begins, rest = text.partition(_BEGIN)
                between, ends, after = rest.partition(_END)
                line = links(file.relative_to(folder).as_posix(), profile, beside)
                if begins and ends and line != begins + between + ends:
                    write_text(file, before + line + after, durable=False)


def _pages(folder: Path) -> Iterable[Path]:
    return sorted(folder.glob("*.html")) + sorted(folder.glob("*/*.html"))
