"""Signals of the operating system, by name."""

from __future__ import annotations

import math
import signal as _signal
import sys
from contextlib import suppress
from typing import Any

SIGNAMES = {name for name in dir(_signal) if name.startswith("SIG") and "_" not in name}
#: Names of signal numbers, with their SIG.
SIGMAP: dict[int, str] = {getattr(_signal, name): getattr(_signal, name).name for name in SIGNAMES}


class Signals:
    """Signals by name (`TERM` or `SIGTERM`), as the object `signals`.

    `signals['INT'] = handler`, `signals.ignore('HUP')`; names this system lacks are skipped.
    """

    ignored = _signal.SIG_IGN
    default = _signal.SIG_DFL

    def arm_alarm(self, seconds: float) -> None:
        """Have SIGALRM sent once, so many seconds from now."""
        if hasattr(_signal, "setitimer"):
            _signal.setitimer(_signal.ITIMER_REAL, seconds)
        else:
            _signal.alarm(math.ceil(seconds))

    def reset_alarm(self) -> int:
        """Call off the alarm; returns the whole seconds that were left."""
        return _signal.alarm(0)

    def supported(self, name: int | str) -> bool:
        """Whether this system has the signal."""
        try:
            self.signum(name)
        except AttributeError:
            return False
        return True

    def signum(self, name: int | str) -> int:
        """A signal's number by its name, with or without `SIG`; a number as it is.

        Raises:
            AttributeError: there is no such signal here.
            TypeError: not a name in capitals.
        """
        if isinstance(name, int):
            return name
        if not name.isupper():
            raise TypeError("signal name must be uppercase string.")
        found: _signal.Signals = getattr(_signal, name if name.startswith("SIG") else f"SIG{name}")
        return found

    def reset(self, *signal_names: str) -> None:
        """Have signals do what the system does by default."""
        self.update((name, self.default) for name in signal_names)

    def ignore(self, *names: str) -> None:
        """Ignore signals."""
        self.update((name, self.ignored) for name in names)

    def __getitem__(self, name: int | str) -> Any:
        return _signal.getsignal(self.signum(name))

    def __setitem__(self, name: int | str, handler: Any) -> None:
        # Not there on this system, or not from this thread: as good as not asked for.
        with suppress(AttributeError, ValueError):
            _signal.signal(self.signum(name), handler)

    def update(self, _d_: Any = None, **sigmap: Any) -> None:
        """Set several handlers, of a mapping, of pairs, or named."""
        for name, handler in dict(_d_ or {}, **sigmap).items():
            self[name] = handler


signals = Signals()
get_signal = signals.signum
install_signal_handler = signals.__setitem__
reset_signal = signals.reset
ignore_signal = signals.ignore


def signal_name(signum: int) -> str:
    """`TERM` for 15."""
    return SIGMAP[signum][3:]


def set_pdeathsig(name: int | str) -> None:
    """Have this process sent a signal when its parent ends (Linux; nothing elsewhere).

    The parent may have ended before this call: compare `os.getppid()` afterwards.
    """
    if not sys.platform.startswith("linux"):
        return
    import ctypes  # noqa: PLC0415 - only pools' processes need it

    pr_set_pdeathsig = 1
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signals.signum(name), 0, 0, 0)
