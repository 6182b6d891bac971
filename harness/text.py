"""Text formatting: durations, counts, numbers with a paper's digits, and escaping of untrusted text."""

from __future__ import annotations

import math
import re
import unicodedata
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Context, Decimal

_SPECIAL = re.compile(r"[\\`*\[\]<>&#|~$@]|(?<![^\W_])_|_(?![^\W_])|:(?=//|\w+:)|(?<=www)\.", re.IGNORECASE)
# what would start a list, a rule or a heading
_BLOCK = re.compile(r"^(?:[-+](?=\s|$)|[-=](?=[-=\s]*$)|\d+[.)](?=\s|$))")
_FORMULA = tuple("=+-@\t\r\n＝＋－＠'")  # what begins a formula, and the mark against it
_SIGNED_NUMBER = re.compile(r"[-+](?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|-inf", re.ASCII)
_ALL_DIGITS = Context(prec=400)  # of any float, with any number of decimals that is printed
_BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"


def line(text: str) -> str:
    """One line of printable text: white space becomes one blank, other control characters and marks that turn the
    direction of what follows become visible escapes, and right-to-left text is kept from reordering its surroundings."""
    text = " ".join(text.split())
    if text.isascii() and text.isprintable():
        return text  # nearly always
    out = []
    turned = False
    for char in text:
        out.append(char.encode("unicode_escape").decode() if _hidden(char) else char)
        turned |= unicodedata.bidirectional(char) in ("R", "AL")
    joined = "".join(out)
    return f"\u2068{joined}\u2069" if turned else joined


def printable(text: str) -> str:
    """Text for a terminal, its line breaks and blanks as they are: control characters, which would move the cursor or
    change colours, and marks that turn the direction of writing become visible escapes."""
    if text.isprintable():
        return text  # nearly always
    return "".join(c if c == "\n" or not _hidden(c) else c.encode("unicode_escape").decode() for c in text)


def _hidden(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cs", "Co", "Cn") or char in _BIDI


def spreadsheet_cell(text: str) -> str:
    """Text for a cell of a CSV file that no spreadsheet takes for a formula: `'` before what would begin one.

    A text that begins with `'` gets one more, so that removing one leading `'` gives every text back; numbers stay as they
    are. The characters are those of OWASP's page on CSV injection.
    """
    return f"'{text}" if text.startswith(_FORMULA) and not _SIGNED_NUMBER.fullmatch(text) else text


def markdown(text: str) -> str:
    """Text as Markdown (and HTML) that renders as exactly that text, in a paragraph, a list item or a table cell.

    By character references, which are never structure in either language.
    """
    escaped = _SPECIAL.sub(lambda match: f"&#{ord(match[0])};", line(text))
    return _BLOCK.sub(lambda match: f"{match[0][:-1]}&#{ord(match[0][-1])};", escaped)


def sentence(text: str) -> str:
    """The text with a capital first letter and a full stop."""
    text = line(text)
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "…", "?", "!")) else ".")


def shorten(text: str, length: int) -> str:
    """At most `length` characters, the last of them `…` where something was cut."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def number(value: float, digits: int = 3) -> str:
    """A value to so many significant digits, without an exponent where that is readable: 0.0123, 4.21, 1530, 1.2e-05."""
    if value == 0 or not 1e-4 <= abs(value) < 1e15:
        return f"{value:.{digits}g}" if value == value and abs(value) != float("inf") else format_decimals(value, 0)
    places = digits - 1 - math.floor(math.log10(abs(value)))
    return format_decimals(value, max(0, places))


def signed(value: float, decimals: int) -> str:
    """`+0.31`, `−1.20`, `±0.00`."""
    text = format_decimals(abs(value), decimals)
    if not any(c in "123456789" for c in text) and value == value and abs(value) != float("inf"):
        return "±" + text
    return text if value != value else ("+" if value > 0 else "−") + text


def format_decimals(value: float, decimals: int, rounding: str = "round") -> str:
    """A value with so many decimals, rounded (ties to even) or truncated as the paper does; `NaN`, `∞` or `−∞`."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else "−∞"
    mode = ROUND_DOWN if rounding == "truncate" else ROUND_HALF_EVEN
    return f"{Decimal(repr(value)).quantize(Decimal(1).scaleb(-decimals), mode, _ALL_DIGITS):f}"


def duration(seconds: float) -> str:
    """`4.1 s`, `3 min 12 s`, `2 h 05 min`, `6 d 3 h`; `∞` for what is not finite."""
    if not math.isfinite(seconds):
        return "∞"
    whole = round(seconds)
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def plural(count: int, noun: str) -> str:
    """`1 job`, `3 jobs`."""
    return f"{count} {noun}" + ("s" if count != 1 else "")
