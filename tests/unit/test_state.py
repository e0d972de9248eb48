import asyncio
import contextvars
import subprocess
import sys
import threading
from types import SimpleNamespace

from celery import _state


def task(**request):
    return SimpleNamespace(request=SimpleNamespace(**request))


def test_the_innermost_task_is_current():
    assert _state.get_current_task() is None
    assert not _state.current_task
    outer, inner = task(called_directly=False), task(called_directly=True)
    _state.push_current_task(outer)
    _state.push_current_task(inner)
    try:
        assert _state.get_current_task() is inner
        assert _state.get_current_worker_task() is outer
        assert _state.current_task.request.called_directly
        assert _state._task_stack.stack == [outer, inner]
        assert len(_state._task_stack) == 2
    finally:
        assert _state.pop_current_task() is inner
        assert _state.pop_current_task() is outer
    assert _state.pop_current_task() is None
    assert _state.get_current_worker_task() is None


def test_every_thread_and_every_coroutine_has_a_stack_of_its_own():
    async def run(mine, ready, go):
        _state.push_current_task(mine)
        ready.set()
        await go.wait()
        found = _state.get_current_task()
        _state.pop_current_task()
        return found

    async def both():
        first, second = task(), task()
        ready = [asyncio.Event(), asyncio.Event()]
        go = asyncio.Event()
        running = [
            asyncio.create_task(run(mine, flag, go))
            for mine, flag in zip((first, second), ready, strict=True)
        ]
        for flag in ready:
            await flag.wait()
        go.set()
        return [first, second] == await asyncio.gather(*running)

    assert contextvars.copy_context().run(asyncio.run, both())

    outer = task()
    _state.push_current_task(outer)
    seen = []
    thread = threading.Thread(target=lambda: seen.append(_state.get_current_task()))
    thread.start()
    thread.join()
    _state.pop_current_task()
    assert seen == [None]


def test_a_thread_without_an_app_uses_the_default_app(monkeypatch):
    mine, default = object(), object()
    monkeypatch.setattr(_state, "default_app", default)
    before = _state._tls.current_app
    _state._set_current_app(mine)
    try:
        assert _state.get_current_app() is mine
        seen = []
        thread = threading.Thread(target=lambda: seen.append(_state.get_current_app()))
        thread.start()
        thread.join()
        assert seen == [default]
    finally:
        _state._set_current_app(before)


def test_tracing_can_be_switched(monkeypatch):
    app = object()
    assert _state.app_or_default(app) is app
    _state.enable_trace()
    assert _state.app_or_default is _state._app_or_default_trace
    assert _state.app_or_default(app) is app
    _state.disable_trace()
    assert _state.app_or_default is _state._app_or_default


def test_finalizers_are_called_for_each_app(monkeypatch):
    monkeypatch.setattr(_state, "_on_app_finalizers", set())
    seen = []
    assert _state.connect_on_app_finalize(seen.append) == seen.append
    _state._announce_app_finalized("app")
    assert seen == ["app"]


def test_blocking_join_flag():
    assert not _state.task_join_will_block()
    _state._set_task_join_will_block(True)
    assert _state.orig_task_join_will_block()
    _state._set_task_join_will_block(False)


def test_strict_app_refuses_the_current_app():
    code = "from celery import _state\ntry: _state.current_app.main\nexcept RuntimeError as e: print(e)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"C_STRICT_APP": "1"},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout.strip() == "USES CURRENT APP"


def test_a_warning_shows_who_uses_the_current_app():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from celery import _state\ndef culprit(): _state.current_app.main\nculprit()",
        ],
        env={"C_WARN_APP": "1"},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert "USES CURRENT_APP" in done.stderr
    assert "culprit" in done.stderr
