"""Looking at a running process: memory, stacks, what blocks."""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from celery.local import try_import
from celery.platforms import signals
from celery.utils.frames import frames_of_threads
from celery.utils.text import WhateverIO

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

__all__ = (
    "blockdetection",
    "cry",
    "hfloat",
    "humanbytes",
    "mem_rss",
    "memdump",
    "ps",
    "sample",
    "sample_mem",
)

UNITS: tuple[tuple[float, str], ...] = (
    (2**40.0, "TB"),
    (2**30.0, "GB"),
    (2**20.0, "MB"),
    (2**10.0, "KB"),
    (0.0, "b"),
)

_mem_sample: list[str | None] = []


def _on_blocking(signum: int, frame: FrameType | None) -> None:
    where = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else "?"
    raise RuntimeError(f"Blocking detection timed-out at: {where}")


@contextmanager
def blockdetection(timeout: float | None) -> Iterator[None]:
    """A block that must end within `timeout` seconds (main thread only; None: no limit).

    Raises:
        RuntimeError: it did not; the message says where it was.
    """
    if not timeout:
        yield
        return
    before = signals["ALRM"]
    signals["ALRM"] = _on_blocking
    try:
        signals.arm_alarm(timeout)
        yield
    finally:
        signals.reset_alarm()
        signals["ALRM"] = signals.default if before is _on_blocking or before is None else before


def sample_mem() -> str | None:
    """Note, and return, how much memory this process uses (text, see `mem_rss`)."""
    usage = mem_rss()
    _mem_sample.append(usage)
    return usage


def memdump(samples: int = 10, file: Any = None) -> None:
    """Print the noted memory uses and the present one.

    Args:
        samples: how many, spread evenly over all.
        file: default stdout.
    """
    out = sys.stdout if file is None else file
    if ps() is None:
        print("- rss: (psutil not installed).", file=out)
        return
    noted, present = _memdump(samples)
    if noted:
        print("- rss (sample):", file=out)
        for usage in noted:
            print(f"-    > {usage},", file=out)
    print(f"- rss (end): {present}.", file=out)


def _memdump(samples: int = 10) -> tuple[list[Any], str | None]:
    noted = list(sample(_mem_sample, samples)) if _mem_sample else []
    _mem_sample.clear()
    return noted, mem_rss()


def sample(x: Sequence[Any], n: int, k: int = 0) -> Iterator[Any]:
    """`n` values of `x`, evenly spread, beginning at `k`."""
    step = len(x) // n or 1
    for _ in range(n):
        try:
            yield x[k]
        except IndexError:
            return
        k += step


def hfloat(f: float, p: int = 5) -> Any:
    """A number with at most `p` digits; a whole one without a point."""
    whole = int(f)
    return whole if f == whole else f"{f:.{p}}"


def humanbytes(s: float) -> str:
    """`5MB` for 5242880."""
    return next(f"{hfloat(s / div if div else s)}{unit}" for div, unit in UNITS if s >= div)


def mem_rss() -> str | None:
    """Memory this process uses, as text; None without psutil."""
    process = ps()
    return humanbytes(process.memory_info().rss) if process is not None else None


def ps() -> Any:
    """This process as a `psutil.Process`; None without psutil."""
    psutil = try_import("psutil")
    return psutil.Process(os.getpid()) if psutil is not None else None


def cry(out: Any = None, sepchr: str = "=", seplen: int = 49) -> str:
    """The stack of every thread, as text.

    Args:
        out: a file to write it to as well.
        sepchr, seplen: the line under each thread's name.
    """
    import threading  # noqa: PLC0415 - only when asked

    text = WhateverIO()
    names = {thread.ident: thread for thread in threading.enumerate()}
    rule = sepchr * seplen
    for ident, frame in frames_of_threads().items():
        thread = names.get(ident)
        if thread is None:
            continue  # it has ended in the meantime
        text.write(f"{thread.name}\n{rule}\n")
        traceback.print_stack(frame, file=text)
        text.write(f"{rule}\nLOCAL VARIABLES\n{rule}\n{_variables(frame)}\n\n\n")
    if out is not None:
        out.write(text.getvalue())
    return text.getvalue()


def _variables(frame: FrameType) -> str:
    from celery.utils.saferepr import saferepr  # noqa: PLC0415 - only when asked

    return "\n".join(f"{name} = {saferepr(value, 500)}" for name, value in frame.f_locals.items())
