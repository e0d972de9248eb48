import pytest

from celery.utils import term
from celery.utils.term import colored


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("black", "\x1b[1;30mx\x1b[0m"),
        ("red", "\x1b[1;31mx\x1b[0m"),
        ("white", "\x1b[1;37mx\x1b[0m"),
        ("bold", "\x1b[1mx\x1b[0m"),
        ("underline", "\x1b[4mx\x1b[0m"),
        ("blink", "\x1b[5mx\x1b[0m"),
        ("reverse", "\x1b[7mx\x1b[0m"),
        ("bright", "\x1b[8mx\x1b[0m"),
        ("ired", "\x1b[1;41mx\x1b[0m"),
        ("iwhite", "\x1b[1;47mx\x1b[0m"),
        ("reset", "\x1b[0mx\x1b[0m"),
    ],
)
def test_sequences(name, text):
    assert str(getattr(colored(enabled=True), name)("x")) == text


@pytest.mark.parametrize("name", ["green", "yellow", "blue", "magenta", "cyan"])
def test_foreground_and_background_differ_by_ten(name):
    paint = colored(enabled=True)
    front, back = (str(getattr(paint, each)("x")) for each in (name, f"i{name}"))
    assert back == front.replace("[1;3", "[1;4")


def test_colours_nest():
    paint = colored(enabled=True)
    nested = paint.red("a", paint.blue("b"), "c")
    assert str(nested) == "\x1b[1;31ma\x1b[1;34mb\x1b[0mc\x1b[0m"
    assert nested.no_color() == "abc"
    assert repr(nested) == "'abc'"
    assert nested + "d" == f"{nested}d"


def test_colours_can_be_off():
    paint = colored(enabled=False)
    assert str(paint.red("a", paint.bold("b"))) == "ab"
    assert not paint.red("a").enabled


def test_names_and_numbers():
    assert set(colored().names) == {"black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"}
    assert (term.BLACK, term.WHITE) == (0, 7)
    assert term.fg(31) == "\x1b[1;31m"
    assert term.supports_images() in (True, False)
