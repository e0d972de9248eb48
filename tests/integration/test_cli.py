"""The `celery` command as a user types it: every command, texts, exit codes, tolerances."""

from __future__ import annotations

import os
import signal
import sys

import pytest
from tests.servers.process import free_port
from tests.support import wait_until

TASKS = """
    from celery import Celery

    app = Celery("tasks")

    @app.task
    def add(x, y):
        return x + y

    @app.task
    def boom():
        raise ValueError("no")
"""


@pytest.fixture
def project(project):
    project.write("tasks.py", TASKS)
    return project


def usage_error(done, text):
    assert done.returncode == 2, done
    assert done.stderr.startswith("Usage: celery")
    assert text in done.stderr


class TestProgram:
    def test_version(self, project):
        first, second = project.celery("--version").stdout.splitlines()
        assert first == "5.7.0 (collider)"
        assert second.startswith("celeriac 0.1.0, kombu 5.")
        assert second.endswith(f"Python {'.'.join(map(str, sys.version_info[:3]))}")

    @pytest.mark.parametrize("args", [(), ("--help",), ("help",)])
    def test_help(self, project, args):
        text = project.celery(*args).stdout
        assert text.startswith("Usage: celery [OPTIONS] [COMMAND] [ARGS]...")
        for command in (
            "call",
            "dlq",
            "graph",
            "help",
            "list",
            "purge",
            "report",
            "resume",
            "result",
            "shell",
            "worker",
        ):
            assert f"\n  {command} " in text

    @pytest.mark.parametrize("args", [("help", "worker"), ("worker", "--help")])
    def test_help_of_a_command(self, project, args):
        text = project.celery(*args).stdout
        assert text.startswith("Usage: celery worker [OPTIONS]")
        for heading in ("Worker Options:", "Pool Options:", "Queue Options:", "Daemonization Options:"):
            assert heading in text

    def test_what_is_not_built_yet_does_not_exist(self, project):
        for option in ("--autoscale=3,1",):
            usage_error(
                project.celery("worker", option, check=False),
                f"No such option '{option.partition('=')[0]}'. Celery has it, this version of Celeriac does not (yet).",
            )
        usage_error(
            project.celery("multi", check=False),
            "No such command 'multi'. Celery has it, this version of Celeriac does not (yet).",
        )

    def test_unknown_commands(self, project):
        usage_error(
            project.celery("workr", check=False),
            "Error: No such command 'workr'.\n\nDid you mean one of these?\n    worker\n",
        )

    def test_a_workflow_that_nobody_knows(self, project):
        done = project.celery("-A", "tasks", "graph", "workflow", "no-such-id", "--format", "tree")
        assert done.stdout == "task[no-such-id] PENDING\n"
        assert "Nothing is stored of no-such-id" in done.stderr
        usage_error(
            project.celery("-A", "tasks", "graph", "workflow", check=False), "Missing argument 'ID...'"
        )

    def test_the_script_does_the_same(self, project):
        script = os.path.join(os.path.dirname(sys.executable), "celery")
        assert project.run(script, "-A", "tasks", "list", "bindings").returncode == 0

    def test_no_heavy_imports_for_help(self, project):
        code = """
            import sys
            from celery.bin.celery import main
            try:
                main(["--help"])
            except SystemExit:
                pass
            print([m for m in ("kombu", "billiard", "asyncio", "sqlite3") if m in sys.modules])
        """
        assert project.python(code).splitlines()[-1] == "[]"


class TestFindingTheApp:
    def test_missing_module(self, project):
        usage_error(
            project.celery("-A", "nosuch", "report", check=False),
            "Error: \nUnable to load celery application.\nThe module nosuch was not found.\n",
        )

    def test_no_application(self, project):
        project.write("empty.py", "")
        usage_error(
            project.celery("-A", "empty", "report", check=False),
            "Unable to load celery application.\nModule 'empty' has no attribute 'celery'\n",
        )

    def test_errors_of_the_module_are_shown_from_there_on(self, project):
        project.write("bad.py", "raise RuntimeError('boom')")
        done = project.celery("-A", "bad", "report", check=False)
        usage_error(
            done,
            "Unable to load celery application.\nWhile trying to load the module bad the following error",
        )
        assert "RuntimeError: boom" in done.stderr
        assert done.stderr.count('File "') == 1

    def test_our_own_name(self, project):
        project.write("celery.py", TASKS)
        script = os.path.join(os.path.dirname(sys.executable), "celery")
        done = project.run(script, "-A", "celery:app", "worker", "--dry-run", "-l", "info", "-P", "solo")
        assert "  . celery.add\n" in done.stdout
        assert "A name like tasks.py or proj/celery.py is better." in done.stderr

    def test_environment(self, project):
        assert "tasks" in project.celery("worker", "--dry-run", "-P", "solo", APP="tasks").stdout

    def test_default_app_reads_celeryconfig(self, project):
        project.write("celeryconfig.py", "worker_concurrency = 7")
        assert "worker_concurrency: 7" in project.celery("report").stdout
        project.write("other.py", "worker_concurrency = 8")
        assert "worker_concurrency: 8" in project.celery("report", "--config", "other").stdout


class TestGlobalOptions:
    @pytest.mark.parametrize(
        "args",
        [
            ("-A", "tasks", "-b", "memory://", "report"),
            ("report", "-A", "tasks", "-b", "memory://"),
            ("report", "--app=tasks", "--broker=memory://"),
            ("report", "-Atasks", "-bmemory://"),
            ("-b", "memory://", "report", "-A", "tasks"),
        ],
    )
    def test_before_and_after_the_command(self, project, args):
        text = project.celery(*args).stdout
        assert "transport:memory results:disabled" in text

    @pytest.mark.parametrize("variable", ["BROKER_URL", "CELERY_BROKER_URL"])
    def test_broker_by_environment(self, project, variable):
        assert "transport:memory" in project.celery("report", "-A", "tasks", **{variable: "memory://"}).stdout

    def test_result_backend(self, project):
        text = project.celery("-A", "tasks", "report", "--result-backend", "cache+memory://").stdout
        assert "results:cache+memory://" in text

    def test_workdir(self, project, tmp_path):
        (tmp_path / "sub").mkdir()
        project.write("sub/inner.py", TASKS.replace("tasks", "inner"))
        done = project.celery("--workdir", "sub", "-A", "inner", "report")
        assert f"{tmp_path}/sub/.celery/store.db" in done.stdout
        usage_error(project.celery("--workdir", "nosuch", "report", check=False), "No such file or directory")

    def test_values_of_other_options_are_left_alone(self, project):
        done = project.celery("call", "tasks.add", "-A", "tasks", "-a", "[1, 2]", "--queue", "-b")
        assert done.returncode == 0
        assert "No messages purged" in project.celery("-A", "tasks", "purge", "-f").stdout
        assert "Purged 1 message" in project.celery("-A", "tasks", "purge", "-f", "-Q", "-b").stdout


class TestCommands:
    def test_call_and_result(self, project):
        with project.worker("-P", "solo"):
            task_id = project.celery("-A", "tasks", "call", "tasks.add", "-a", "[1, 2]").stdout.strip()
            assert project.celery("-A", "tasks", "result", task_id).stdout == "3\n"
            failed = project.celery("-A", "tasks", "call", "tasks.boom").stdout.strip()
            done = project.celery("-A", "tasks", "result", "-t", "tasks.boom", failed, check=False)
            assert done.returncode == 1
            assert "ValueError: no" in done.stderr
            shown = project.celery("-A", "tasks", "result", "--traceback", failed).stdout
            assert shown.startswith("Traceback (most recent call last):")

    @pytest.mark.parametrize(
        ("args", "text"),
        [
            (("-a", "[1"), "Invalid value for '-a' / '--args': Expecting ',' delimiter"),
            (("-a", "1"), "Invalid value for '-a' / '--args': 1 was not an array"),
            (("-k", "[]"), "Invalid value for '-k' / '--kwargs': [] was not an object"),
            (("--eta", "foo"), "Invalid value for '--eta'"),
        ],
    )
    def test_call_checks(self, project, args, text):
        usage_error(project.celery("-A", "tasks", "call", "tasks.add", *args, check=False), text)

    def test_call_options(self, project):
        project.celery(
            "-A", "tasks", "call", "tasks.add", "-k", '{"x": 1, "y": 2}', "--countdown", "100",
            "--expires", "200", "--queue", "other", "--serializer", "json",
        )  # fmt: skip
        code = """
            from tasks import app
            print(app.broker_for_read().size("other"))
        """
        assert project.python(code).strip() == "1"

    def test_purge(self, project):
        for _ in range(2):
            project.celery("-A", "tasks", "call", "tasks.add", "-a", "[1, 2]")
        done = project.celery("-A", "tasks", "purge", check=False)
        assert done.returncode == 1
        assert done.stdout.startswith(
            "WARNING:This will remove all tasks from queue: celery.\n"
            "         There is no undo for this operation!\n\n"
            "(to skip this prompt use the -f option)\n"
            "Are you sure you want to delete all tasks? [y/N]: "
        )
        done = project.celery("-A", "tasks", "purge", stdin="y\n")
        assert done.stdout.endswith("Purged 2 messages from 1 known task queue.\n")
        assert project.celery("-A", "tasks", "purge", "-f").stdout == "No messages purged from 1 queue.\n"
        assert (
            project.celery("-A", "tasks", "purge", "-f", "-Q", "a,b").stdout
            == "No messages purged from 2 queues.\n"
        )
        assert project.celery("-A", "tasks", "purge", "-f", "-X", "celery").stdout == ""

    def test_list_bindings(self, project):
        assert project.celery("-A", "tasks", "list", "bindings").stdout == (
            "Queue                        Exchange                     Routing Key\n"
            "----------------             ----------------             ----------------\n"
            "celery                       celery                       celery\n"
        )
        assert project.celery("-A", "tasks", "list", check=False).returncode == 2

    def test_report(self, project):
        text = project.celery("-A", "tasks", "report").stdout
        assert text.startswith("\nsoftware -> celery:5.7.0 (collider) kombu:")
        assert "loader   -> celery.loaders.app.AppLoader\n" in text

    def test_shell(self, project):
        done = project.celery(
            "-A", "tasks", "shell", "--python", stdin="print(app.main, celery is app, add.name, Task)\n"
        )
        assert "tasks True tasks.add <class 'celery.app.task.Task'>" in done.stdout
        done = project.celery("-A", "tasks", "shell", "--python", "-T", stdin="print('add' in locals())\n")
        assert "False" in done.stdout

    def test_dead_letters(self, project):
        assert project.celery("-A", "tasks", "dlq", "list").stdout == "No dead letters.\n"
        with project.worker("-P", "solo") as worker:
            project.celery("-A", "tasks", "call", "tasks.later", "-a", "[1, 2]")
            worker.wait_for("unregistered task")
        listed = project.celery("-A", "tasks", "dlq", "list").stdout
        assert "tasks.later[" in listed
        project.write("tasks.py", TASKS + "\n    @app.task\n    def later(x, y):\n        return x * y\n")
        usage_error(project.celery("-A", "tasks", "dlq", "retry", check=False), "Say which")
        assert project.celery("-A", "tasks", "dlq", "retry", "--all").stdout == "Sent 1 message back.\n"
        with project.worker("-P", "solo") as worker:
            worker.wait_for(r"Task tasks\.later.* succeeded")

    def test_an_unknown_serializer_is_one_line(self, project):
        done = project.celery("-A", "tasks", "call", "tasks.add", "--serializer", "nope", check=False)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith("Error: No encoder installed for nope")
        assert "Traceback" not in done.stderr

    def test_errors_the_user_can_mend_are_one_line(self, project):
        project.write("tasks.py", TASKS.replace('"tasks")', '"tasks", broker="nosuch://h")'))
        done = project.celery("-A", "tasks", "call", "tasks.add", check=False)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        (line,) = done.stderr.strip().splitlines()
        assert line.startswith("Error: ")
        assert "nosuch" in line


class TestMistakes:
    """One line: what, where, what to do; exit code not 0 (promise 14)."""

    @pytest.mark.parametrize(
        ("settings", "args", "text"),
        [
            (
                "worker_prefetch_multiplier='x'",
                (),
                "Setting 'worker_prefetch_multiplier' is 'x' (str): expected",
            ),
            ("imports='nosuchmodule'", (), "No module named 'nosuchmodule'. A setting or an option names it"),
            ("", ("-I", "nosuchmodule"), "No module named 'nosuchmodule'. A setting or an option names it"),
            (
                "config_source='nosuchconfig'",
                (),
                "No module named 'nosuchconfig'. A setting or an option names it",
            ),
            ("", ("-f", "no/folder.log"), "no/folder.log: No such file or directory"),
            ("", ("-D", "-f", "no/folder.log"), "no/folder.log: its folder does not exist"),
            ("", ("--pidfile", "no/folder.pid"), "no/folder.pid'"),
            ("task_create_missing_queues=False", ("-Q", "foo"), "queue 'foo' isn't defined"),
            ("", ("-P", "threads", "--time-limit", "3"), "the threads pool cannot enforce it"),
            ("broker='nosuch://'", (), "No such transport: nosuch"),
            ("broker=5", (), "Setting 'broker_url' is 5 (int): expected a URL or a list of URLs"),
            ("accept_content=['jsn']", (), "Setting 'accept_content': No encoder installed for jsn"),
            ("worker_pool='nosuch'", (), "Setting 'worker_pool': There is no pool 'nosuch'"),
            (
                "result_compression='nosuch'",
                (),
                "Setting 'result_compression': no compression called 'nosuch'",
            ),
            (
                "timezone='Mars/Base'",
                (),
                "Setting 'timezone' is 'Mars/Base': expected the name of a time zone",
            ),
            (
                "task_annotations={'tasks.add': {'rate_limit': 'lots'}}",
                (),
                "Task tasks.add: rate_limit is 'lots': expected a number of runs a second",
            ),
        ],
    )
    def test_of_a_worker(self, project, settings, args, text):
        project.write("tasks.py", TASKS.replace('"tasks")', f'"tasks", {settings})'))
        done = project.celery("-q", "-A", "tasks", "worker", "-c", "1", *args, check=False)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
        assert text in line

    @pytest.mark.parametrize(
        ("args", "text"),
        [
            (("worker", "--uid", "nosuchuser"), "User does not exist: nosuchuser"),
            (("worker", "--umask", "zz"), "--umask is an octal number like 022, got 'zz'"),
            (("result", "-t", "nope", "x"), "There is no task 'nope' in this application."),
            (("worker", "--time-limit", "-3"), "-3.0 is not in the range x>=0"),
        ],
    )
    def test_of_usage(self, project, args, text):
        usage_error(project.celery("-A", "tasks", *args, check=False), text)

    def test_results_that_cannot_be_reached(self, project):
        url = f"redis://127.0.0.1:{free_port()}/0"
        done = project.celery("-A", "tasks", "--result-backend", url, "result", "x", check=False)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert f"Error: Could not read results: {url}: Connection refused" in done.stderr

    @pytest.mark.parametrize("args", [("result", "x"), ("graph", "workflow", "x")])
    def test_no_results_at_all(self, project, args):
        project.write("bare.py", "from celery import Celery\napp = Celery('bare', broker='memory://')")
        done = project.celery("-A", "bare", *args, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("Error: No result backend is configured.")

    def test_an_import_error_of_the_user_s_module_keeps_its_traceback(self, project):
        project.write("bad.py", "import nosuchmodule")
        done = project.celery("-A", "tasks", "worker", "-I", "bad", check=False)
        assert done.returncode == 1
        assert 'bad.py", line 1' in done.stderr

    def test_mixed_names(self, project):
        project.write("celeryconfig.py", "CELERYD_CONCURRENCY = 1\ntask_serializer = 'json'\n")
        done = project.celery("report", check=False)
        assert done.returncode == 1
        assert done.stderr.startswith("Error: Cannot mix new and old setting keys")


class TestWorker:
    @pytest.mark.parametrize(
        ("args", "text"),
        [
            (
                ("-c", "foo"),
                "Invalid value for '-c' / '--concurrency': must be a non-negative integer or 'auto', got 'foo'",
            ),
            (("-l", "foo"), "'FOO' is not one of 'DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL', 'FATAL'."),
            (("-P", "foo"), "'foo' is not one of 'prefork'"),
            (("-P", "custom"), "CELERY_CUSTOM_WORKER_POOL"),
            (("-O", "x"), "'x' is not one of 'default', 'fair'."),
            (
                ("abc",),
                "Unable to parse extra configuration from command line.\nReason: 'abc' is not of the form family.setting=value",
            ),
            (("x.y=3",), "Reason: there is no setting 'x_y'\n"),
            (("worker.concurency=3",), "no setting 'worker_concurency'; did you mean 'worker_concurrency'?"),
            (("worker.concurrency=(odd)3",), "Reason: 'odd'"),
        ],
    )
    def test_usage_errors(self, project, args, text):
        usage_error(project.celery("-A", "tasks", "worker", *args, check=False), text)

    @pytest.mark.parametrize("level", [("-l", "debug"), ("-L", "debug"), ("--loglevel=DEBUG",), ("-l", "10")])
    def test_log_levels(self, project, level):
        text = project.celery("-A", "tasks", "worker", "--dry-run", "-P", "solo", *level).stdout
        assert "  . celery.backend_cleanup" in text, "built-in tasks are listed at DEBUG"

    def test_dry_run(self, project):
        done = project.celery("worker", "-A", "tasks", "--dry-run", "-l", "info", "-n", "w1@%h", "-c", "3")
        assert "3 (prefork)" in done.stdout
        assert "  . tasks.add" in done.stdout
        assert " w1@" in done.stdout
        assert "ready" not in done.stdout + done.stderr

    def test_dry_run_with_a_broken_broker(self, project, tmp_path):
        (tmp_path / "folder.db").mkdir()
        done = project.celery("-A", "tasks", "-b", "sqlite:///folder.db", "worker", "--dry-run", check=False)
        assert done.returncode == 1
        assert "folder.db" in done.stderr
        assert "Traceback" not in done.stderr

    def test_settings_after_the_options(self, project):
        done = project.celery("-A", "tasks", "worker", "--dry-run", "worker.concurrency=5", ".pool=threads")
        assert "5 (threads)" in done.stdout

    def test_environment_gives_options_and_settings(self, project):
        done = project.celery("-A", "tasks", "worker", "--dry-run", CELERY_WORKER_CONCURRENCY="4")
        assert "4 (prefork)" in done.stdout
        done = project.celery("-A", "tasks", "worker", "--dry-run", CELERY_TASK_DEFAULT_QUEUE="q7")
        assert "exchange=q7(direct) key=q7" in done.stdout

    def test_quiet(self, project):
        assert project.celery("-A", "tasks", "-q", "worker", "--dry-run").stdout == ""

    def test_a_program_of_its_own(self, project):
        project.write("prog.py", TASKS + "\n    if __name__ == '__main__':\n        app.worker_main()\n")
        done = project.run(sys.executable, "prog.py", "--dry-run", "-l", "info")
        assert "  . tasks.add" in done.stdout

    def test_in_the_background(self, project, tmp_path):
        project.celery(
            "-A", "tasks", "worker", "-D", "-P", "solo", "-l", "info", "-n", "bg@%h",
            "--pidfile", "%n.pid", "-f", "%n.log",
        )  # fmt: skip
        pid = int(wait_until(lambda: (p := tmp_path / "bg.pid").exists() and p.read_text().strip()))
        try:
            wait_until(lambda: "ready." in (tmp_path / "bg.log").read_text())
            again = project.celery(
                "-A", "tasks", "worker", "-P", "solo", "-n", "bg@%h", "--pidfile", "%n.pid", check=False
            )
            assert again.returncode == 73
            assert again.stderr.splitlines()[-2:] == [
                "ERROR: Pidfile (bg.pid) already exists.",
                f"Seems we're already running? (pid: {pid})",
            ]
        finally:
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not (tmp_path / "bg.pid").exists())

    def test_daemon_options_from_settings(self, project, tmp_path):
        project.write("tasks.py", TASKS + "\n    app.conf.worker_logfile = 'from_setting.log'\n")
        with project.worker("-P", "solo", ready=False):
            wait_until(lambda: (p := tmp_path / "from_setting.log").exists() and "ready." in p.read_text())


PLUGIN = """
import click
from celery.bin.base import CeleryCommand, handle_preload_options

@click.command(cls=CeleryCommand, context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
@handle_preload_options
def flowery(ctx, words):
    print(ctx.obj.app.main, list(words))
"""


class TestExtensions:
    @pytest.fixture
    def plugin(self, project, tmp_path):
        """A distribution with one command that works and one that cannot be loaded."""
        project.write("plugin_package.py", PLUGIN)
        info = tmp_path / "plugin_package-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin-package\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(
            "[celery.commands]\nflowery = plugin_package:flowery\nbroken = no_such_module:x\n"
        )
        return project

    def test_commands_of_other_packages(self, plugin):
        done = plugin.celery("-A", "tasks", "flowery", "--port=5555", "--broker=memory://", "x")
        assert done.stdout == "tasks ['--port=5555', 'x']\n"
        assert "the command 'broken' (no_such_module:x) could not be loaded" in done.stderr
        assert "flowery" in plugin.celery("--help").stdout

    def test_user_options(self, project):
        project.write(
            "tasks.py",
            TASKS
            + """
    import click
    from celery import signals

    app.user_options["preload"].add(click.Option(["-Z", "--template"], default="none"))
    app.user_options["worker"].add(click.Option(["--greeting"], default="hello"))

    @signals.user_preload_options.connect
    def preload(options, app, **kw):
        print("PRELOAD", options, app.main)

    @signals.celeryd_init.connect
    def init(options, **kw):
        print("GREETING", options["greeting"])
""",
        )
        done = project.celery(
            "-A", "tasks", "worker", "--dry-run", "-q", "-Z", "tmpl", "--greeting", "hi", "-P", "solo"
        )
        assert done.stdout.splitlines()[:2] == ["PRELOAD {'template': 'tmpl'} tasks", "GREETING hi"]


def test_a_foreign_celery_is_refused(project, tmp_path):
    info = tmp_path / "celery-5.7.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: celery\nVersion: 5.7.0\n")
    done = project.celery("-A", "tasks", "report", check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: celery 5.7.0 is installed in this environment beside celeriac")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: celery\nVersion: 5.7.0+celeriac.0.1.0\n")
    assert project.celery("-A", "tasks", "report").returncode == 0
