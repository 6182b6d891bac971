"""Durations and counts as text."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """`4.1 s`, `3 min 12 s`, `2 h 05 min`, `6 d 3 h`."""
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
