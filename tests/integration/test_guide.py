"""Every box of the guide, as printed: files are written, scripts print what their comments say, commands work."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from celery.app.defaults import DEFAULTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Project

GUIDE = (Path(__file__).parents[2] / "docs/guide.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
CONSOLE = [
    line.removeprefix("$ ").split()
    for block in re.findall(r"```console\n(.*?)```", GUIDE, re.DOTALL)
    for line in block.splitlines()
]
FILES = [block for block in PYTHON if block.startswith("# tasks.py")]
SCRIPTS = [block for block in PYTHON if block not in FILES]
FIRST_WORKER, *COMMANDS = CONSOLE


@pytest.fixture(scope="module")
def project(module_project: Project) -> Project:
    module_project.write("tasks.py", "\n\n".join(FILES))
    (module_project.path / ".celery").mkdir(exist_ok=True)
    return module_project


@pytest.fixture(scope="module")
def worker(project: Project) -> Iterator[None]:
    assert FIRST_WORKER[:4] == ["celery", "-A", "tasks", "worker"]
    with project.worker(*FIRST_WORKER[4:]):
        yield


def expected(script: str) -> list[str]:
    return re.findall(r"print\(.*\)  # (.*)$", script, re.MULTILINE)


def test_the_guide_is_read() -> None:
    assert len(FILES) == 5
    assert all(expected(script) for script in SCRIPTS)
    assert len(SCRIPTS) == 6


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("script", SCRIPTS, ids=range(len(SCRIPTS)))
def test_script(project: Project, script: str) -> None:
    assert project.python(script).splitlines() == expected(script)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_command(project: Project, command: list[str]) -> None:
    program, *args = command
    assert program == "celery"
    if "worker" in args and "--dry-run" not in args:
        args.append("--dry-run")
    project.celery(*args)


def test_settings_of_the_guide() -> None:
    names = set(re.findall(r"`((?:task|worker|result|broker|embedded)_\w+)[`= ]", GUIDE))
    assert names
    assert sorted(names - DEFAULTS.keys()) == []
