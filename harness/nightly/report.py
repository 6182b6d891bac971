"""The page of a night, and the notification that carries it."""

from __future__ import annotations

import datetime
import subprocess
from collections.abc import Sequence

from harness.errors import Exit
from harness.nightly.checks import Check
from harness.nightly.config import Nightly


def markdown(checks: Sequence[Check], verdict: Exit, date: datetime.date) -> str:
    """The page of a night, in Markdown."""
    regressions = [line for check in checks for line in check.regressions]
    failed = [line for check in checks for line in check.failed]
    summary = {Exit.OK: "all well", Exit.NOTHING: "nothing was measured"}.get(verdict, "look at this")
    lines = [f"# Nightly of {date.isoformat()}: {summary}", ""]
    for title, items in (("Worse than it should be", regressions), ("Did not run", failed)):
        if items:
            lines += [f"## {title}", "", *(f"{'' if line.startswith(' ') else '- '}{line}" for line in items), ""]
    for check in checks:
        lines += [f"## {check.name[0].upper()}{check.name[1:]}: {check.measured} measured", ""]
        lines += [f"- {line}" for line in check.lines] + [""]
    return "\n".join(lines)


def notify(config: Nightly, page: str, verdict: Exit) -> str | None:
    """Hands the page to the command of the nightly file, unless all is well; the error in a line, if there was one."""
    if not config.notify or (verdict == Exit.OK and not config.notify_always):
        return None
    try:
        process = subprocess.run(config.notify, input=page, text=True, capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the notification was not sent: {error}"
    return f"the notification was not sent: {process.stderr.strip()}" if process.returncode else None
