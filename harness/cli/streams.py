"""Standard output and error that survive a reader who leaves and a terminal that lacks characters."""

from __future__ import annotations

import io
import os
import stat
from typing import TextIO


class _PipeWriter(io.FileIO):
    """Output into a pipe whose reader may leave, as `| head` does: what nobody reads is dropped.

    The command goes on to its own end and exit code: measurements do not depend on who reads the output.
    """

    def write(self, data) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            return len(data)


def tolerant_stream(stream: TextIO) -> TextIO:
    """The stream with `?` for characters that its encoding lacks, and without an error where its reader has left."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.reconfigure(errors="replace")
    try:
        number = stream.fileno()
    except io.UnsupportedOperation:  # a stream in memory
        return stream
    if number > 2 or not stat.S_ISFIFO(os.fstat(number).st_mode):
        return stream
    stream.flush()
    raw = io.BufferedWriter(_PipeWriter(number, "wb", closefd=False))
    return io.TextIOWrapper(raw, stream.encoding, errors="replace", line_buffering=stream.line_buffering)
