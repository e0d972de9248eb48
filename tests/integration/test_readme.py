"""What the README says works, as printed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "tasks.py").write_text(BLOCKS[0])
    return tmp_path


def environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("CELERY")}


@pytest.fixture
def worker(project: Path) -> Iterator[subprocess.Popen[str]]:
    command = re.search(r"\$ celery (.*)", README)
    assert command
    process = subprocess.Popen(
        [sys.executable, "-m", "celery", *command[1].split()],
        cwd=project,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    yield process
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output


def python(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.usefixtures("worker")
def test_first_task(project: Path) -> None:
    assert python(BLOCKS[1], project).strip() == "5"


@pytest.mark.usefixtures("worker")
def test_first_task_awaited(project: Path) -> None:
    code = """
import asyncio
from tasks import add

async def main():
    result = await add.adelay(2, 3)
    print(await result.aget(timeout=10))

asyncio.run(main())
"""
    assert "result = await add.adelay(2, 3)" in README
    assert "await result.aget(timeout=10)" in README
    assert python(code, project).strip() == "5"


def test_two_commands_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^    make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_links_lead_somewhere() -> None:
    for page in [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "CHANGELOG.md",
        *ROOT.glob("docs/**/*.md"),
    ]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"
