"""Every box of the page about workflows, as printed: scripts print what their comments say, commands work."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Project

PAGE = (Path(__file__).parents[2] / "docs/workflows.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
FILES = [block for block in PYTHON if block.startswith("# tasks.py")]
COMMANDS = [
    line.removeprefix("$ ").split()
    for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
]
SCRIPTS = [block for block in PYTHON if block not in FILES]


@pytest.fixture(scope="module")
def project(module_project: Project) -> Project:
    module_project.write("tasks.py", "\n\n".join(FILES))
    (module_project.path / ".celery").mkdir(exist_ok=True)
    return module_project


@pytest.fixture(scope="module")
def worker(project: Project) -> Iterator[None]:
    with project.worker("--pool", "threads", "--concurrency", "2"):
        yield


def expected(script: str) -> list[str]:
    said = re.findall(r"print\(.*\)  # (.*)$", script, re.MULTILINE)
    return "\n".join(said).replace("\\n", "\n").splitlines()


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("script", SCRIPTS, ids=range(len(SCRIPTS)))
def test_script(project: Project, script: str) -> None:
    assert expected(script)
    assert project.python(script).split("\n")[-1 - len(expected(script)) :] == [*expected(script), ""]


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_command(project: Project, command: list[str]) -> None:
    project.celery(*command[1:])
