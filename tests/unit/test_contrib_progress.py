"""The bar: drawn as tasks end, closed however the wait ends."""

from __future__ import annotations

import builtins
import io
import uuid

import pytest
from rich.console import Console

from celery import Celery
from celery.contrib.progress import bar
from celery.exceptions import ImproperlyConfigured


@pytest.fixture
def app():
    return Celery("t", broker="memory://", backend="cache+memory://", set_as_current=False)


@pytest.fixture
def console():
    return Console(file=io.StringIO(), force_terminal=True, width=100)


def group_of(app, *values):
    group = app.GroupResult(str(uuid.uuid4()), [app.AsyncResult(str(uuid.uuid4())) for _ in values])
    for result, value in zip(group, values, strict=True):
        if isinstance(value, Exception):
            app.backend.mark_as_failure(result.id, value)
        else:
            app.backend.mark_as_done(result.id, value)
    return group


def test_it_is_drawn(app, console):
    assert group_of(app, 1, 2, 3).get(timeout=20, on_progress=bar("orders", console=console)) == [1, 2, 3]
    drawn = console.file.getvalue()
    assert "orders" in drawn
    assert "3/3" in drawn
    assert "success" in drawn


def test_it_is_closed_when_a_task_failed(app, console):
    shown = bar(console=console)
    with pytest.raises(KeyError):
        group_of(app, 1, KeyError("k")).get(timeout=20, on_progress=shown)
    drawn = console.file.getvalue()
    assert "1 failed" in drawn
    assert drawn.rindex("\x1b[?25h") > drawn.rindex("\x1b[?25l")  # the cursor is to be seen again


def test_it_may_be_used_again(app, console):
    with bar(console=console) as shown:
        for size in (1, 2):
            group_of(app, *range(size)).get(timeout=20, on_progress=shown)
    assert "2/2" in console.file.getvalue()


def test_what_a_task_says_is_shown(app, console):
    from celery.result import Progress

    with bar(console=console) as shown:
        shown(Progress(0, 1, 0, "PROGRESS", None, {"page": 3}, "an-id"))
    assert "{'page': 3}" in console.file.getvalue()


def test_rich_is_missing(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "rich":
            raise ModuleNotFoundError("No module named 'rich'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImproperlyConfigured, match=r"pip install 'celeriac\[progress\]'"):
        bar()


def test_what_a_task_says_is_no_markup(console):
    from celery.result import Progress

    with bar("[b]orders[/b]", console=console) as shown:
        shown(Progress(0, 1, 0, "PROGRESS", None, "[/page]\n3", "an-id"))
    drawn = console.file.getvalue()
    assert "[/page] 3" in drawn
    assert "[b]orders[/b]" in drawn
