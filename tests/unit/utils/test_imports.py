import datetime
import os
import sys
from types import SimpleNamespace

import pytest

from celery.utils import imports as i


class Outer:
    class Inner:
        def method(self):
            pass


@pytest.mark.parametrize(
    ("obj", "name"),
    [
        (Outer, f"{__name__}.Outer"),
        (Outer(), f"{__name__}.Outer"),
        (Outer.Inner, "Outer.Inner"),
        (Outer.Inner.method, "Outer.Inner.method"),
        (int, "builtins.int"),
        (5, "builtins.int"),
        (len, "builtins.len"),
    ],
)
def test_qualname(obj, name):
    assert i.qualname(obj) == name


def test_symbol_by_name():
    assert i.symbol_by_name("datetime:timedelta") is datetime.timedelta
    assert i.symbol_by_name("datetime.timedelta") is datetime.timedelta
    assert i.symbol_by_name("os") is os
    assert i.symbol_by_name("os:") is os
    assert i.symbol_by_name(Outer) is Outer
    assert i.symbol_by_name("short", aliases={"short": "os:getpid"}) is os.getpid
    assert i.symbol_by_name(".imports:qualname", package="celery.utils") is i.qualname
    assert i.symbol_by_name("os:nosuch", default=5) == 5
    with pytest.raises(ModuleNotFoundError):
        i.symbol_by_name("no_such.module:x")
    with pytest.raises(AttributeError):
        i.symbol_by_name("os:nosuch")
    with pytest.raises(ValueError, match="Couldn't import ''"):
        i.symbol_by_name("")


def test_instantiate():
    assert i.instantiate("datetime:timedelta", 1, hours=2) == datetime.timedelta(1, hours=2)


def test_find_module(tmp_path, monkeypatch):
    (tmp_path / "found_in_cwd.py").write_text("x = 1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    module = i.find_module("found_in_cwd")
    assert module.x == 1
    assert str(tmp_path) not in sys.path
    assert i.import_from_cwd("found_in_cwd") is module
    (tmp_path / "found_in_cwd.py").write_text("x = 25")
    assert i.reload_from_cwd(module).x == 25
    assert i.module_file(module) == str(tmp_path / "found_in_cwd.py")
    with pytest.raises(i.NotAPackage, match="os"):
        i.find_module("os.nosuch")
    with pytest.raises(ModuleNotFoundError):
        i.find_module("no_such_pkg.x")


@pytest.mark.parametrize(
    ("module", "name"),
    [("mod", "mod.f"), ("__main__", "main.f"), ("", "main.f"), (None, "main.f"), ("a.b", "a.b.f")],
)
def test_gen_task_name(module, name):
    assert i.gen_task_name(SimpleNamespace(main="main"), "f", module) == name


def test_gen_task_name_without_main():
    assert i.gen_task_name(SimpleNamespace(main=None), "f", "__main__") == "__main__.f"


def test_extensions():
    names = dict(i.load_extension_class_names("console_scripts"))
    assert names["celery"] == "celery.__main__:main"
    assert list(i.load_extension_classes("no.such.group")) == []
