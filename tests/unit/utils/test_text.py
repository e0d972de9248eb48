import pytest

from celery.utils import text as t


@pytest.mark.parametrize(
    ("function", "args", "result"),
    [
        (t.abbr, ("hello world foo", 8), "hello..."),
        (t.abbr, ("hello world foo", 8, ""), "hello wo"),
        (t.abbr, (None, 3), "???"),
        (t.abbr, ("abc", 3), "abc"),
        (t.abbrtask, ("proj.tasks.mod.add", 12), "proj.t[.]add"),
        (t.abbrtask, ("a.b", 20), "a.b"),
        (t.abbrtask, (None, 3), "???"),
        (t.truncate, ("hello world foo", 8), "hello..."),
        (t.truncate, ("x" * 20, 8), "xxxxxxxx..."),
        (t.truncate, ("short", 8), "short"),
        (t.dedent, ("    a\n      b\nc",), "a\n  b\nc"),
        (t.dedent_initial, ("     a",), " a"),
        (t.ensure_newlines, ("a\n",), "a\n\n"),
        (t.ensure_newlines, ("a\n\n\n",), "a\n\n\n"),
        (t.ensure_sep, ("x", "ax", 3), "axxx"),
        (t.fill_paragraphs, ("aaa bbb ccc\nddd eee fff", 8), "aaa bbb\nccc\nddd eee\nfff"),
        (t.indent, ("a\n\nb", 2), "  a\n  \n  b"),
        (t.join, (["a", "", "b"],), "a\nb"),
        (t.pluralize, (1, "x"), "x"),
        (t.pluralize, (0, "x"), "xs"),
        (t.pluralize, (1.5, "x", "es"), "xes"),
        (t.pretty, ({"a": 1},), "\n 'a': 1}"),
        (t.pretty, ((1, 2),), "\n    (1, 2)"),
        (t.pretty, ([1],), "[1]"),
        (t.str_to_list, ("a,b",), ["a", "b"]),
        (t.str_to_list, (["x"],), ["x"]),
        (t.simple_format, ("%a %b %%", {"a": "1", "b": lambda: "2"}), "1 2 %"),
        (t.simple_format, ("", {}), ""),
        (t.remove_repeating_from_task, ("proj.add", "proj.add(1) proj.mul"), "proj.add(1) mul"),
        (t.remove_repeating, ("q", "abc"), "abc"),
        (t.match_case, ("ab", "X"), "AB"),
    ],
)
def test_shaping(function, args, result):
    assert function(*args) == result


def test_an_unknown_key_is_explained():
    with pytest.raises(ValueError, match=r"Unknown format %z in string '%z'.\nPossible causes"):
        t.simple_format("%z", {})


def test_whatever_io():
    file = t.WhateverIO(b"abc")
    file.seek(0, 2)
    file.write("é")
    file.write(b"y")
    assert file.getvalue() == "abcéy"
