"""`-A`: from what the user writes to an application."""

from __future__ import annotations

import sys

import pytest

from celery.app.finding import OWN_FILE_MODULE, NoAppError, find_app

APP = "from celery import Celery\n{name} = Celery('{main}', set_as_current=False, broker='memory://')\n"


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def write(name, text="", *, app=None, main="it"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + (APP.format(name=app, main=main) if app else ""))

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize("name", ["mod", "mod:app", "mod.app"])
def test_a_module_and_its_attribute(write, name):
    write("mod.py", app="app")
    assert find_app(name).main == "it"


@pytest.mark.parametrize("attribute", ["app", "celery", "anything"])
def test_any_instance_in_the_module(write, attribute):
    write("mod.py", app=attribute)
    assert find_app("mod").main == "it"


def test_a_nested_attribute(write):
    write("mod.py", app="app")
    write("holder.py", "import mod\nclass Holder: inner = mod.app\n")
    assert find_app("holder:Holder.inner").main == "it"


@pytest.mark.parametrize("name", ["proj", "proj.celery", "proj.celery:app", "proj:celery"])
def test_a_package_with_a_celery_module(write, name):
    write("proj/__init__.py", "from . import celery\n" if name == "proj:celery" else "")
    write("proj/celery.py", app="app")
    assert find_app(name).main == "it"


def test_attributes_count_only_if_they_are_applications(write):
    # A Flask file: `app` is the web application.
    write("web.py", "class Flask: pass\napp = Flask()\n", app="celery")
    assert find_app("web").main == "it"


def test_a_project_file_of_our_own_name(write):
    write("celery.py", "from celery import Celery\napp = Celery('own', set_as_current=False)\n")
    found = find_app("celery:app")
    assert found.main == "own"
    assert find_app("celery") is found
    assert sys.modules["celery"].__name__ == "celery"
    assert sys.modules[OWN_FILE_MODULE].__name__ == "celery"


@pytest.mark.parametrize("name", ["nosuch", "nosuch.celery", "mod:nosuch", "mod.nosuch", "nosuch:app"])
def test_what_is_not_there(write, name):
    write("mod.py", app="app")
    with pytest.raises(ModuleNotFoundError):
        find_app(name)


def test_a_module_without_application(write):
    write("empty.py")
    with pytest.raises(NoAppError, match="Module 'empty' has no attribute 'celery'"):
        find_app("empty")


def test_something_else(write):
    write("mod.py", "x = 3\n")
    with pytest.raises(NoAppError, match="'mod:x' is a int, not a Celery application"):
        find_app("mod:x")


def test_errors_of_the_module_propagate(write):
    write("broken/__init__.py")
    write("broken/celery.py", "import no_such_module\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        find_app("broken")
