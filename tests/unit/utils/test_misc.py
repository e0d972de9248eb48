"""Small modules: abstract, annotations, debug, deprecated, sysinfo."""

import io
import os
import threading
import time
import typing

import pytest

from celery import utils
from celery.exceptions import CDeprecationWarning, CPendingDeprecationWarning
from celery.utils import annotations, debug, deprecated, sysinfo
from celery.utils.abstract import CallableSignature, CallableTask


def test_every_public_name_of_utils_exists():
    assert [name for name in utils.__all__ if not hasattr(utils, name)] == []


def test_callable_task():
    class Task:
        def __call__(self): ...

        delay = apply_async = apply = __call__

    assert issubclass(Task, CallableTask)
    assert isinstance(Task(), CallableTask)
    assert not isinstance(3, CallableTask)
    assert not issubclass(Task, CallableSignature)

    class Signature(Task):
        clone = freeze = set = link = link_error = __or__ = Task.__call__

    assert issubclass(Signature, CallableSignature)

    @CallableTask.register
    class Other:
        pass

    assert isinstance(Other(), CallableTask)


def test_annotations():
    assert annotations.get_optional_arg(typing.Optional[int]) is int  # noqa: UP045
    assert annotations.get_optional_arg(int | None) is int
    assert annotations.get_optional_arg(int | str) is None
    assert annotations.get_optional_arg(int) is None
    assert annotations.is_none_type(type(None))
    assert not annotations.is_none_type(None)
    assert annotations.annotation_is_class(int)
    assert not annotations.annotation_is_class(list[int])
    assert not annotations.annotation_is_class("int")
    assert annotations.annotation_issubclass(bool, int)
    assert not annotations.annotation_issubclass(typing.Any, int)


def test_warnings_say_when_and_what_instead():
    with pytest.warns(
        CPendingDeprecationWarning, match=r"thing is scheduled for deprecation in +version 5.1"
    ):
        deprecated.warn("thing", deprecation="5.1", removal="6.0", alternative="use x")
    with pytest.warns(CDeprecationWarning, match=r"old is deprecated and scheduled for removal"):
        deprecated.warn("old", removal="6.0")


def test_deprecated_function_and_property():
    @deprecated.Callable(deprecation="1", removal="2", alternative="alt")
    def old():
        return 3

    class Thing:
        @deprecated.Property(deprecation="1")
        def value(self):
            return 7

        @value.setter
        def value(self, new):
            self.kept = new

    with pytest.warns(CPendingDeprecationWarning, match="old"):
        assert old() == 3
    thing = Thing()
    with pytest.warns(CPendingDeprecationWarning, match="value"):
        assert thing.value == 7
    with pytest.warns(CPendingDeprecationWarning, match="value"):
        thing.value = 4
    assert thing.kept == 4
    with pytest.raises(AttributeError, match="cannot delete"):
        del thing.value


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0b"), (5, "5b"), (1024, "1KB"), (5 * 1024**2, "5MB"), (3 * 1024**3, "3GB"), (1500, "1.4648KB")],
)
def test_humanbytes(size, text):
    assert debug.humanbytes(size) == text


def test_sample():
    assert list(debug.sample(list(range(1, 11)), 3)) == [1, 4, 7]
    assert list(debug.sample(list(range(100)), 4, 2)) == [2, 27, 52, 77]
    assert debug.hfloat(3.0) == 3


def test_cry_shows_every_thread():
    go, ready = threading.Event(), threading.Event()

    def waits_in_a_name_of_its_own():
        ready.set()
        go.wait()

    thread = threading.Thread(target=waits_in_a_name_of_its_own, name="waiting-thread")
    thread.start()
    ready.wait()
    out = io.StringIO()
    try:
        text = debug.cry(out)
    finally:
        go.set()
        thread.join()
    assert "waiting-thread\n=====" in text
    assert "waits_in_a_name_of_its_own" in text
    assert "MainThread" in text
    assert out.getvalue() == text


def test_memory_is_said_or_missing():
    out = io.StringIO()
    debug.sample_mem()
    debug.memdump(file=out)
    assert out.getvalue().startswith("- rss")


def test_block_detection():
    with pytest.raises(RuntimeError, match="Blocking detection timed-out at"), debug.blockdetection(0.05):
        time.sleep(10)
    with debug.blockdetection(10):
        pass
    with debug.blockdetection(None):
        pass


def test_processors():
    budget = sysinfo.cpu_budget()
    assert 1 <= budget.count <= budget.available == sysinfo.available_cpu_count()
    assert sysinfo.cpu_budget(use_cgroup_quota=False).quota is None
    assert sysinfo.is_auto_concurrency(" AUTO ")
    assert not sysinfo.is_auto_concurrency(4)
    assert len(sysinfo.load_average()) == 3


def test_quota_of_a_container(tmp_path, monkeypatch):
    (tmp_path / "cgroup").write_text("0::/group/inner\n")
    inner = tmp_path / "fs" / "group" / "inner"
    inner.mkdir(parents=True)
    (inner / "cpu.max").write_text("max 100000\n")
    (inner.parent / "cpu.max").write_text("150000 100000\n")
    monkeypatch.setattr(sysinfo, "PROC_SELF_CGROUP", str(tmp_path / "cgroup"))
    monkeypatch.setattr(sysinfo, "CGROUP_ROOT", str(tmp_path / "fs"))
    assert sysinfo.cgroup_cpu_quota() == 1.5
    monkeypatch.setattr(sysinfo, "available_cpu_count", lambda: 8)
    assert sysinfo.cpu_budget() == (2, 8, 1.5)


def test_quota_of_an_old_container(tmp_path, monkeypatch):
    (tmp_path / "cgroup").write_text("4:cpu,cpuacct:/docker/x\n1:memory:/docker/x\n")
    root = tmp_path / "fs" / "cpu,cpuacct"
    root.mkdir(parents=True)
    (root / "cpu.cfs_quota_us").write_text("50000\n")
    (root / "cpu.cfs_period_us").write_text("100000\n")
    monkeypatch.setattr(sysinfo, "PROC_SELF_CGROUP", str(tmp_path / "cgroup"))
    monkeypatch.setattr(sysinfo, "CGROUP_ROOT", str(tmp_path / "fs"))
    assert sysinfo.cgroup_cpu_quota() == 0.5
    (root / "cpu.cfs_quota_us").write_text("-1\n")
    assert sysinfo.cgroup_cpu_quota() is None


def test_disk(tmp_path):
    disk = sysinfo.df(tmp_path)
    assert disk.total_blocks > 0
    assert 0 <= disk.available <= disk.total_blocks
    assert 0 <= disk.capacity <= 101
    assert disk.stat.f_frsize == os.statvfs(tmp_path).f_frsize
