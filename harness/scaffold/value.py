"""What a cell prints: a number with its digits, bound, gain, spread, unit and footnote marks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from harness.scaffold.grid import Cell

BLANKS = {"", "-", "–", "—", "−", "--", "---", "n/a", "na", "n.a.", "none", "/", "·", "…", "...", "?", "✗", "×", "tbd"}
"""What stands where a paper prints no number, in lower case."""

_DIGITS = r"(?:[0-9][0-9,\u2009]*\.?[0-9]*|\.[0-9]+)"
_BODY = re.compile(rf"(?P<bound>[<>≥≤~≈]?)\s*(?P<number>[-+]?{_DIGITS})(?P<rest>.*)", re.DOTALL)
_THOUSANDS = re.compile(r"[-+]?[0-9]{1,3}(?:[,\u2009][0-9]{3})+(?:\.[0-9]+)?")
_UNIT = re.compile(
    r"\s*(%|(?:[GMTKk]?(?:FLOPs|FLOPS|MACs)|[MGK]i?B|imgs?/s|images/s|fps|FPS|ms|pp|[KMGTBkms])(?![A-Za-z]))"
)
_SPREAD = re.compile(r"\s*\(?\s*(?:±|\+/-|\+-)\s*([0-9]*\.?[0-9]+)\s*%?\s*\)?")
_GAIN = re.compile(
    r"\s*(?P<open>[\(\[{]?)\s*(?:(?P<arrow>[↑▲⬆↓▼⬇])\s*(?P<sign>[-+]?)|(?P<plus>[-+]{1,2}))\s*"
    r"(?P<digits>[0-9]+\.?[0-9]*|\.[0-9]+)\s*%?\s*(?P<close>[\)\]}]?)"
)
_GAIN_BEFORE_ARROW = re.compile(
    r"\s*(?P<open>[\(\[]?)\s*(?P<digits>[0-9]+\.?[0-9]*)\s*%?\s*(?P<arrow>[↑▲⬆↓▼⬇])\s*(?P<close>[\)\]]?)"
)
_MARKS = re.compile(r"\s*[*†‡§¶⋆★♯#^∗◦]+")
_DOWN = "↓▼⬇"
_LONGEST = 20


@dataclass(frozen=True)
class Printed:
    """A printed number: `text` as the table file takes it, `spread` after a ±, `marks` the footnote marks beside it."""

    text: str
    bound: str = ""
    gain: str = ""
    spread: str = ""
    unit: str = ""
    marks: str = ""


class Unreadable(ValueError):
    """Why a cell is no printed number."""


def is_blank(cell: Cell) -> bool:
    return cell.blank or cell.text.strip("() ").lower() in BLANKS


def looks_like_number(cell: Cell) -> bool:
    """Whether a cell prints a number and nothing that is none."""
    try:
        return parse(cell) is not None
    except Unreadable:
        return False


def parse(cell: Cell) -> Printed | None:
    """The number that a cell prints; None where it prints none; Unreadable where it prints something else."""
    if is_blank(cell):
        return None
    main = "".join(run.text for run in cell.runs if not run.script)
    main = main.replace("−", "-").replace("–", "-").replace("\u00a0", " ").replace("\u202f", "\u2009").strip()
    match = _BODY.match(main)
    if match is None:
        raise Unreadable("no number")
    if match["bound"] not in ("", "<", ">"):
        raise Unreadable(f"'{match['bound']}' before a number is neither a value nor the bound < or >")
    found = {"text": _digits(match["number"]), "bound": match["bound"]}
    rest = match["rest"]
    if unit := _UNIT.match(rest):
        found["unit"], rest = unit[1], rest[unit.end() :]
    _read_rest(rest, found, script=False)
    for run in cell.runs:
        if run.script and run.text.strip():
            script = run.text.replace("−", "-").replace("–", "-").strip()
            if re.fullmatch(r"[0-9]+", script):
                if "." not in found["text"] or run.script == "sub":
                    raise Unreadable(f"'{script}' raised or lowered beside it may be an exponent, a spread or a mark")
                found["marks"] = found.get("marks", "") + script
            elif re.fullmatch(r"[a-z]", script):
                found["marks"] = found.get("marks", "") + script
            else:
                _read_rest(script, found, script=True)
    return Printed(**found)


def is_fraction(text: str) -> bool:
    """Whether a number lies between 0 and 1 and has at least two decimals."""
    return bool(re.fullmatch(r"[-+]?[01]?\.[0-9]{2,}", text)) and abs(float(text)) <= 1


def in_percent(text: str) -> str:
    """A fraction of 1 in percent, digit for digit: `0.7140` as `71.40`; '' for ''."""
    return format(Decimal(text).scaleb(2), "f") if text else ""


def _digits(number: str) -> str:
    """A number as a table file takes it; Unreadable where it is none."""
    number = number.rstrip(",\u2009") if number.endswith((",", "\u2009")) else number
    if _THOUSANDS.fullmatch(number):
        number = re.sub(r"[,\u2009]", "", number)
    if not re.fullmatch(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)", number, re.ASCII):
        raise Unreadable("a comma or a blank in it separates no thousands")
    if len(number) > _LONGEST:
        raise Unreadable(f"more than {_LONGEST} digits")
    return number.removesuffix(".")


def _is_gain(match: re.Match[str], script: bool) -> bool:
    """Brackets come in pairs; `43.6-45.1` is a range, no loss."""
    bare_minus = "-" in (match.groupdict().get("plus") or "") and not match["open"] and not script
    return bool(match["open"]) == bool(match["close"]) and not bare_minus


def _read_rest(rest: str, found: dict[str, str], *, script: bool) -> None:
    """What stands after a number, or as its `script`: spread, gain, footnote marks, each once."""
    while rest.strip():
        gain = _GAIN.match(rest) or _GAIN_BEFORE_ARROW.match(rest)
        if (spread := _SPREAD.match(rest)) and "spread" not in found:
            found["spread"], rest = spread[1], rest[spread.end() :]
        elif gain and "gain" not in found and _is_gain(gain, script):
            groups = gain.groupdict()
            signs = (groups.get("sign") or "") + (groups.get("plus") or "")
            down = "-" in signs or (groups.get("arrow") or "↑") in _DOWN
            found["gain"], rest = ("-" if down else "") + gain["digits"], rest[gain.end() :]
        elif marks := _MARKS.match(rest):
            found["marks"], rest = found.get("marks", "") + marks[0].strip(), rest[marks.end() :]
        else:
            shown = rest.strip()
            another = bool(re.search(r"[0-9]", shown))
            raise Unreadable(f"'{shown[:30]}' after the number is {'a second number' if another else 'unknown'}")
