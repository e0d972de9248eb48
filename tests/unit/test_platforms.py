import os
import signal
import subprocess
import sys
import time

import pytest
from tests.support import wait_until

from celery import platforms as p
from celery.exceptions import SecurityError, SecurityWarning


def run(code, **kwargs):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False, **kwargs
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.pid"


def test_pidfile_holds_this_process(path):
    with p.Pidfile(path) as pidfile:
        assert path.read_text() == f"{os.getpid()}\n"
        assert path.stat().st_mode & 0o777 == 0o644
        assert pidfile.is_locked()
        assert pidfile.read_pid() == os.getpid()
        with pytest.raises(p.LockFailed, match="exists"):
            p.Pidfile(path).acquire()
    assert not path.exists()
    pidfile.remove()
    assert pidfile.read_pid() is None


@pytest.mark.parametrize("content", ["", "abc\n", "12"])
def test_a_broken_pidfile_is_replaced(path, content, capsys):
    path.write_text(content)
    with pytest.raises(ValueError, match="pidfile"):
        p.Pidfile(path).read_pid()
    assert p.Pidfile(path).remove_if_stale()
    assert not path.exists()
    assert capsys.readouterr().err == "Broken pidfile found - Removing it.\n"


def test_a_stale_pidfile_is_replaced(path, capsys):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    path.write_text(f"{dead.pid}\n")
    assert p.Pidfile(path).remove_if_stale()
    assert capsys.readouterr().err == "Stale pidfile exists - Removing it.\n"


def test_a_living_process_keeps_its_pidfile(path):
    path.write_text(f"{os.getpid()}\n")
    done = run(f"from celery import platforms; platforms.create_pidlock({str(path)!r})")
    assert done.returncode == p.EX_CANTCREAT
    assert done.stderr == (
        f"ERROR: Pidfile ({path}) already exists.\nSeems we're already running? (pid: {os.getpid()})\n"
    )
    assert path.exists()


def test_a_pidlock_is_removed_at_exit_by_its_owner_only(path):
    done = run(
        "import os, sys; from celery import platforms\n"
        f"platforms.create_pidlock({str(path)!r})\n"
        "if os.fork() == 0: sys.exit()\n"
        "os.wait(); print(os.path.exists(sys.argv[1]))".replace("sys.argv[1]", repr(str(path)))
    )
    assert done.stdout == "True\n", done.stderr
    assert not path.exists()


def test_a_pidfile_that_cannot_be_made(tmp_path):
    with pytest.raises(p.LockFailed, match="No such file"):
        p.create_pidlock(tmp_path / "missing" / "x.pid")


def test_users_and_groups_by_name_and_number():
    assert p.parse_uid("root") == p.parse_uid("0") == p.parse_uid(0) == 0
    assert p.parse_gid("root") == p.parse_gid("0") == p.parse_gid(0) == 0
    with pytest.raises(KeyError, match="User does not exist: nosuch"):
        p.parse_uid("nosuch")
    with pytest.raises(KeyError, match="Group does not exist: nosuch"):
        p.parse_gid("nosuch")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_privileges_are_dropped_for_good():
    done = run(
        "import os; from celery import platforms\n"
        "platforms.maybe_drop_privileges(uid='nobody')\n"
        "print(os.getuid() == os.geteuid() == platforms.parse_uid('nobody'), os.getgid() != 0)\n"
        "try: os.setuid(0)\nexcept PermissionError: print('refused')"
    )
    assert done.stdout == "True True\nrefused\n", done.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_a_group_alone():
    done = run(
        "import os; from celery import platforms\n"
        "platforms.maybe_drop_privileges(gid='nogroup'); print(os.getgid() == platforms.parse_gid('nogroup'), os.getuid())"
    )
    assert done.stdout == "True 0\n", done.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="about root")
def test_root_is_warned_and_refused_pickle(monkeypatch):
    monkeypatch.delenv("C_FORCE_ROOT", raising=False)
    with pytest.warns(SecurityWarning, match="superuser privileges"):
        p.check_privileges(["json"])
    for name in ("pickle", "application/x-python-serialize"):
        with pytest.raises(SecurityError, match="C_FORCE_ROOT"):
            p.check_privileges(["json", name])
    monkeypatch.setenv("C_FORCE_ROOT", "1")
    with pytest.warns(SecurityWarning):
        p.check_privileges(["pickle"])


def test_signals_by_name():
    s = p.signals
    assert s.signum("TERM") == s.signum("SIGTERM") == s.signum(15) == signal.SIGTERM
    assert s.supported("INT")
    assert not s.supported("NOPE")
    with pytest.raises(TypeError, match="uppercase"):
        s.signum("term")
    before = s["USR1"]
    try:
        handler = lambda *args: None  # noqa: E731
        s["USR1"] = handler
        assert signal.getsignal(signal.SIGUSR1) is handler
        s.ignore("USR1", "NOPE")
        assert s["USR1"] == signal.SIG_IGN
        s.reset("USR1")
        assert s["USR1"] == signal.SIG_DFL
        s.update({"USR1": handler}, NOPE=handler)
        assert s["USR1"] is handler
    finally:
        s["USR1"] = before
    assert p.signal_name(15) == "TERM"
    assert p.signal_name(signal.SIGKILL) == "KILL"


def test_alarm():
    p.signals.arm_alarm(100)
    assert p.signals.reset_alarm() in (99, 100)


def test_errors_by_name(tmp_path):
    assert p.get_errno_name("ENOENT") == p.get_errno_name(2) == 2
    with p.ignore_errno("ENOENT"):
        open(tmp_path / "nosuch")  # noqa: SIM115
    with pytest.raises(FileNotFoundError), p.ignore_errno("EPERM"):
        open(tmp_path / "nosuch")  # noqa: SIM115
    with pytest.raises(FileNotFoundError), p.ignore_errno("ENOENT", types=(KeyError,)):
        open(tmp_path / "nosuch")  # noqa: SIM115


def test_file_descriptors(tmp_path):
    assert p.get_fdmax() > 0
    path = tmp_path / "f"
    with open(path, "w") as file:
        assert p.fd_by_path([str(path), str(tmp_path / "nosuch")]) == [file.fileno()]
    assert p.fd_by_path([str(path)]) == []


def test_all_other_files_are_closed(tmp_path):
    done = run(
        "import os; from celery import platforms\n"
        f"a, b = (open({str(tmp_path)!r} + n, 'w') for n in 'ab')\n"
        "platforms.close_open_fds([0, 1, 2, b])\n"
        "b.write('still open'); b.close()\n"
        "try: os.fstat(a.fileno())\n"
        "except OSError: os.write(1, b'closed')\n"
        "os._exit(0)"
    )
    assert done.stdout == "closed", done.stderr


def test_a_daemon(tmp_path):
    report = tmp_path / "report"
    done = run(
        "import os, sys; from celery.platforms import detached\n"
        f"with detached(logfile={str(tmp_path / 'log')!r}, umask='027', workdir={str(tmp_path)!r}):\n"
        "    text = f'{os.getcwd()} {os.getsid(0) != os.getpid()} {os.umask(0):o} {os.isatty(0)}'\n"
        f"    open({str(report)!r} + '.new', 'w').write(text)\n"
        f"    os.rename({str(report)!r} + '.new', {str(report)!r})\n"
    )
    assert done.returncode == 0, done.stderr
    deadline = time.monotonic() + 20
    while not report.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert report.read_text() == f"{tmp_path} True 27 False"
    assert (tmp_path / "log").exists()


def test_a_daemon_objects_before_stderr_is_gone(tmp_path, path):
    path.write_text(f"{os.getpid()}\n")
    done = run(
        f"from celery.platforms import detached\nwith detached(pidfile={str(path)!r}, fake=True): print('never')"
    )
    assert done.returncode == p.EX_CANTCREAT
    assert "already running" in done.stderr
    done = run(
        "from celery.platforms import detached\nwith detached(logfile='/no/such/log', fake=True): print('never')"
    )
    assert done.returncode == 1
    assert "/no/such/log" in done.stderr
    assert done.stdout == ""


def test_titles(monkeypatch):
    monkeypatch.setenv("NOSETPS", "1")
    assert p.set_process_title("x", "y") == "[x] y"
    assert p.set_process_title("x") == "[x]"
    assert p.set_mp_process_title("x", "y", "h").startswith("[x: h:")
    assert p.strargv(["python", "-m", "celery", "worker"]) == "celery worker"


def test_small_answers():
    assert p.pyimplementation() in ("CPython", "PyPy")
    with open(os.devnull) as null:
        assert p.isatty(null) is False
    assert p.isatty(object()) is None
    assert (p.EX_OK, p.EX_FAILURE, p.EX_USAGE, p.EX_UNAVAILABLE, p.EX_CANTCREAT) == (0, 1, 64, 69, 73)
    assert p.SIGMAP[15] == "SIGTERM"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")
def test_a_child_ends_with_its_parent():
    code = (
        "import os, sys, time; from celery import platforms\n"
        "read, write = os.pipe()\n"
        "if os.fork() == 0:\n"
        "    platforms.set_pdeathsig('KILL'); os.write(write, b'x'); time.sleep(60)\n"
        "os.read(read, 1); os._exit(0)"
    )
    # stdout is held open by the child: it reads to its end only when the child is gone.
    assert run(code).returncode == 0


def test_tools_may_replace_what_a_daemon_closes(tmp_path):
    kept = tmp_path / "kept"
    done = run(
        "import os; from celery import platforms\n"
        f"platforms.close_open_fds = lambda keep=None: open({str(kept)!r}, 'w').close()\n"
        "with platforms.detached(): pass\n"
    )
    assert done.returncode == 0, done.stderr
    wait_until(kept.exists)
