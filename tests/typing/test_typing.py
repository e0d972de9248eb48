"""What users' type checkers say about tasks."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MARK = re.compile(r"#\s*error:\s*([a-z-]+)\s*$")
LINE = re.compile(r"^(?P<file>[^:]+):(?P<line>\d+): error: .*\[(?P<code>[a-z-]+)\]$")


def errors_of(name: str, cache: Path) -> set[tuple[int, str]]:
    command = [
        sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--no-pretty", "--config-file=",
        "--follow-imports=silent", f"--cache-dir={cache}", name,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=300, check=False)
    found = set()
    for line in done.stdout.splitlines():
        match = LINE.match(line)
        if match is None:
            assert ": note:" in line, done.stdout + done.stderr
        elif Path(match["file"]).name == name:
            found.add((int(match["line"]), match["code"]))
        else:
            raise AssertionError(line)
    assert not done.stderr, done.stderr
    return found


def expected_in(name: str) -> set[tuple[int, str]]:
    lines = (HERE / name).read_text().splitlines()
    marks = ((number, MARK.search(line)) for number, line in enumerate(lines, 1))
    return {(number, mark[1]) for number, mark in marks if mark}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mypy")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["good.py", "bad.py"])
def test_mypy_sees_calls_as_they_are(name: str, cache: Path) -> None:
    assert errors_of(name, cache) == expected_in(name)
