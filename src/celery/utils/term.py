"""Colours for terminals."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("colored",)

BLACK, RED, GREEN, YELLOW, BLUE, MAGENTA, CYAN, WHITE = range(8)
OP_SEQ = "\033[%dm"
RESET_SEQ = "\033[0m"
COLOR_SEQ = "\033[1;%dm"

IS_WINDOWS = sys.platform == "win32"

ITERM_PROFILE = os.environ.get("ITERM_PROFILE")
TERM = os.environ.get("TERM")
TERM_IS_SCREEN = bool(TERM and TERM.startswith("screen"))


def fg(s: int) -> str:
    """The sequence for a foreground (30 to 37) or background (40 to 47) colour."""
    return COLOR_SEQ % s


def supports_images() -> bool:
    """Whether the terminal shows images (iTerm does)."""
    try:
        return sys.stdin.isatty() and bool(ITERM_PROFILE)
    except AttributeError:
        return False


class colored:  # noqa: N801, RUF100 - the public name
    """Text with colours that can be nested.

    >>> c = colored(enabled=True)
    >>> print(str(c.red('the quick ', c.blue('brown ', c.bold('fox ')), 'jumps over')))

    Args:
        s: parts: text, or other `colored`.
        enabled: off gives the text alone (keyword only; default: on, except on Windows).
        op: the sequence to put before (keyword only).
    """

    def __init__(self, *s: object, **kwargs: Any) -> None:
        self.s: tuple[object, ...] = s
        self.enabled: bool = not IS_WINDOWS and kwargs.get("enabled", True)
        self.op: str = kwargs.get("op", "")
        self.names: dict[str, Callable[..., colored]] = {
            "black": self.black,
            "red": self.red,
            "green": self.green,
            "yellow": self.yellow,
            "blue": self.blue,
            "magenta": self.magenta,
            "cyan": self.cyan,
            "white": self.white,
        }

    def no_color(self) -> str:
        """The text without any sequences."""
        return "".join(part.no_color() if isinstance(part, colored) else str(part) for part in self.s)

    def embed(self) -> str:
        """The text with colours, not reset at the end."""
        if not self.enabled:
            return self.no_color()
        return self.op + "".join(self._part(part) for part in self.s)

    def _part(self, part: object) -> str:
        # A nested part ends with a reset; what follows must be painted by the caller again.
        return f"{part.embed()}{RESET_SEQ}" if isinstance(part, colored) else str(part)

    def __str__(self) -> str:
        return f"{self.embed()}{RESET_SEQ if self.enabled else ''}"

    def __repr__(self) -> str:
        return repr(self.no_color())

    def __add__(self, other: object) -> str:
        return f"{self}{other}"

    def node(self, s: tuple[object, ...], op: str) -> colored:
        """Parts with a sequence before them, enabled as this is."""
        return type(self)(*s, enabled=self.enabled, op=op)

    def black(self, *s: object) -> colored:
        return self.node(s, fg(30 + BLACK))

    def red(self, *s: object) -> colored:
        return self.node(s, fg(30 + RED))

    def green(self, *s: object) -> colored:
        return self.node(s, fg(30 + GREEN))

    def yellow(self, *s: object) -> colored:
        return self.node(s, fg(30 + YELLOW))

    def blue(self, *s: object) -> colored:
        return self.node(s, fg(30 + BLUE))

    def magenta(self, *s: object) -> colored:
        return self.node(s, fg(30 + MAGENTA))

    def cyan(self, *s: object) -> colored:
        return self.node(s, fg(30 + CYAN))

    def white(self, *s: object) -> colored:
        return self.node(s, fg(30 + WHITE))

    def bold(self, *s: object) -> colored:
        return self.node(s, OP_SEQ % 1)

    def underline(self, *s: object) -> colored:
        return self.node(s, OP_SEQ % 4)

    def blink(self, *s: object) -> colored:
        return self.node(s, OP_SEQ % 5)

    def reverse(self, *s: object) -> colored:
        return self.node(s, OP_SEQ % 7)

    def bright(self, *s: object) -> colored:
        return self.node(s, OP_SEQ % 8)

    def ired(self, *s: object) -> colored:
        return self.node(s, fg(40 + RED))

    def igreen(self, *s: object) -> colored:
        return self.node(s, fg(40 + GREEN))

    def iyellow(self, *s: object) -> colored:
        return self.node(s, fg(40 + YELLOW))

    def iblue(self, *s: object) -> colored:
        return self.node(s, fg(40 + BLUE))

    def imagenta(self, *s: object) -> colored:
        return self.node(s, fg(40 + MAGENTA))

    def icyan(self, *s: object) -> colored:
        return self.node(s, fg(40 + CYAN))

    def iwhite(self, *s: object) -> colored:
        return self.node(s, fg(40 + WHITE))

    def reset(self, *s: object) -> colored:
        return self.node(s or ("",), RESET_SEQ)
