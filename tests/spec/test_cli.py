"""The `celery` command: finding the application, exit codes, messages."""

from __future__ import annotations

import re

import pytest

from tests.support import Project

FILES = {
    "tasks.py": """
        from celery import Celery

        app = Celery('tasks', broker='sqlite:///s.db', backend='sqlite:///s.db')

        @app.task
        def add(x, y): return x + y
    """,
    "package/__init__.py": "",
    "package/celery.py": "from celery import Celery\napp = Celery('inside', broker='memory://')\n",
    "named_celery.py": "from celery import Celery\ncelery = Celery('c', broker='memory://')\n",
    "otherwise.py": "from celery import Celery\nother = Celery('o', broker='memory://')\n",
    "no_app.py": "x = 1\n",
    "broken.py": "1 / 0\n",
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A folder with applications of every kind."""
    project = Project(tmp_path_factory.mktemp("cli"))
    for name, text in FILES.items():
        project.write(name, text)
    return project


@pytest.mark.parametrize(
    "name",
    [
        "tasks",
        "tasks:app",
        "tasks.app",
        "package",
        "package.celery",
        "package.celery:app",
        "named_celery",
        "otherwise",
    ],
)
def test_finds_the_application(shop: Project, name: str) -> None:
    done = shop.celery("-A", name, "purge", "-f", "-Q", "nothing")
    assert done.stdout == "No messages purged from 1 queue.\n"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "The module nowhere was not found."),
        ("no_app", "Module 'no_app' has no attribute 'celery'"),
        ("broken", "While trying to load the module broken the following error occurred:"),
        ("named_celery:nothing", "Unable to load celery application."),
    ],
)
def test_says_why_there_is_no_application(shop: Project, name: str, message: str) -> None:
    done = shop.celery("-A", name, "report", check=False)
    assert done.returncode == 2
    assert "Unable to load celery application." in done.stderr
    assert message in done.stderr


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("nosuch", "Error: No such command 'nosuch'."),
        ("wroker", "Did you mean"),
        ("--nosuch", "No such option"),
        ("call", "Error: Missing argument 'NAME'."),
        ("call tasks.add -a nojson", "Invalid value for '-a' / '--args': "),
        ("call tasks.add -a {}", "Invalid value for '-a' / '--args': {} was not an array"),
        ("call tasks.add -k []", "Invalid value for '-k' / '--kwargs': [] was not an object"),
        ("call tasks.add --countdown soon", "Invalid value for '--countdown': 'soon' is not a valid float."),
        ("call tasks.add --eta soon", "Invalid value for '--eta'"),
        ("result", "Error: Missing argument 'TASK_ID'."),
        ("worker -c many", "must be a non-negative integer or 'auto'"),
        ("worker -c -1", "must be a non-negative integer or 'auto'"),
        ("worker -l LOUD", "is not one of 'DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL', 'FATAL'"),
        ("worker -P nosuch", "Invalid value for '-P' / '--pool': 'nosuch' is not one of 'prefork'"),
        ("worker --pool-start-method guess", "is not one of 'fork', 'spawn'"),
        ("worker -O fast", "is not one of 'default', 'fair'"),
        ("worker --time-limit long", "'long' is not a valid float"),
    ],
)
def test_usage_errors(shop: Project, command: str, message: str) -> None:
    done = shop.celery("-A", "tasks", *command.split(), check=False)
    assert done.returncode == 2
    assert "Usage: " in done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_command_it_helps(shop: Project) -> None:
    done = shop.celery()
    assert done.stdout.startswith("Usage: ")
    for command in ("call", "list", "purge", "report", "result", "shell", "worker"):
        assert re.search(rf"^  {command} ", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("command", ["call", "list", "purge", "report", "result", "shell", "worker"])
def test_every_command_has_help(shop: Project, command: str) -> None:
    assert shop.celery(command, "--help").stdout.startswith(f"Usage: celery {command} ")


def test_version(shop: Project) -> None:
    first, second = shop.celery("--version").stdout.splitlines()
    assert first == "5.7.0 (collider)"
    assert second.startswith("celeriac ")


def test_call_purge_and_their_counts(tmp_path: object) -> None:
    project = Project(tmp_path)  # type: ignore[arg-type]
    project.write("tasks.py", FILES["tasks.py"])
    for arguments in (
        ("tasks.add", "-a", "[1, 2]"),
        ("tasks.add", "-k", '{"x": 1, "y": 2}', "--expires", "300.5"),
        ("not.known.here", "--countdown", "60", "--serializer", "json"),
        ("tasks.add", "-a", "[1, 2]", "--queue", "other", "--eta", "2090-01-01T00:00:00"),
    ):
        printed = project.celery("-A", "tasks", "call", *arguments).stdout
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\n", printed)
    asked = project.celery("-A", "tasks", "purge", check=False, stdin="n\n")
    assert "WARNING:This will remove all tasks from queue: celery." in asked.stdout
    assert "Are you sure you want to delete all tasks? [y/N]:" in asked.stdout
    purged = project.celery("-A", "tasks", "purge", "-f").stdout
    assert purged == "Purged 3 messages from 1 known task queue.\n"
    purged = project.celery("-A", "tasks", "purge", "-f", "-Q", "celery,other").stdout
    assert purged == "Purged 1 message from 2 known task queues.\n"


def test_call_runs_and_result_prints(tmp_path: object) -> None:
    project = Project(tmp_path)  # type: ignore[arg-type]
    project.write("tasks.py", FILES["tasks.py"])
    task_id = project.celery("-A", "tasks", "call", "tasks.add", "-a", "[20, 22]").stdout.strip()
    bad_id = project.celery("-A", "tasks", "call", "tasks.add", "-a", '[20, "x"]').stdout.strip()
    with project.worker("-c", "1"):
        assert project.celery("-A", "tasks", "result", task_id).stdout == "42\n"
        assert project.celery("-A", "tasks", "result", "-t", "tasks.add", task_id).stdout == "42\n"
        failed = project.celery("-A", "tasks", "result", bad_id, check=False)
        assert failed.returncode == 1
        assert "TypeError: unsupported operand" in failed.stderr
        shown = project.celery("-A", "tasks", "result", bad_id, "--traceback", check=False)
        assert "Traceback (most recent call last):" in shown.stdout


def test_list_bindings(shop: Project) -> None:
    lines = shop.celery("-A", "tasks", "list", "bindings").stdout.splitlines()
    assert lines[0].split() == ["Queue", "Exchange", "Routing", "Key"]
    assert lines[2].split() == ["celery", "celery", "celery"]
    assert lines[0].index("Exchange") == lines[2].index("celery", 1) == 29


def test_report(shop: Project) -> None:
    text = shop.celery("-A", "tasks", "report").stdout
    assert text.startswith("\nsoftware -> celery:5.7.0 (collider) ")
    for line in (
        "platform -> system:",
        "loader   -> celery.loaders.app.AppLoader",
        "settings -> transport:sqlite results:",
    ):
        assert f"\n{line}" in text


def test_shell(shop: Project) -> None:
    printed = shop.celery(
        "-A",
        "tasks",
        "shell",
        "--python",
        stdin="print('said', app.main, celery is app, add(1, 2), Task.__name__)\n",
    )
    assert "said tasks True 3 Task" in printed.stdout


def test_options_from_the_environment(shop: Project) -> None:
    for name in ("APP", "CELERY_APP"):
        assert "broker_url: 'memory://'" in shop.celery("report", **{name: "named_celery"}).stdout
    shop.write("settings_here.py", "task_default_queue = 'from config'\nbroker_url = 'memory://'\n")
    assert "task_default_queue: 'from config'" in shop.celery("--config", "settings_here", "report").stdout


def test_broker_and_backend_options(shop: Project) -> None:
    text = shop.celery("-b", "memory://", "--result-backend", "cache+memory://", "report").stdout
    assert "transport:memory results:cache+memory" in text


def test_workdir(shop: Project, tmp_path: object) -> None:
    elsewhere = Project(tmp_path)  # type: ignore[arg-type]
    done = elsewhere.celery("--workdir", str(shop.path), "-A", "named_celery", "purge", "-f")
    assert done.stdout.startswith("No messages purged")
