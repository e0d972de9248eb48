"""What users' type checkers say about tasks: mypy and pyright (as basedpyright, which is installed from PyPI alone)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MARK = re.compile(r"#\s*error:\s*([a-z-]+)\s*$")
LINE = re.compile(r"^(?P<file>[^:]+):(?P<line>\d+): error: .*\[(?P<code>[a-z-]+)\]$")
#: What pyright calls errors that mypy gives several names.
PYRIGHT_CODES = {
    "arg-type": "reportArgumentType",
    "assignment": "reportAssignmentType",
    "call-arg": "reportCallIssue",
}


def found_by_mypy(name: str, cache: Path) -> set[tuple[int, str]]:
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


def found_by_pyright(name: str) -> set[tuple[int, str]]:
    command = [
        sys.executable, "-m", "basedpyright", "--outputjson", f"--pythonpath={sys.executable}",
        f"--project={HERE / 'pyrightconfig.json'}",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=300, check=False)
    said = json.loads(done.stdout)
    assert said["summary"]["filesAnalyzed"] == 2, done.stdout + done.stderr
    return {
        (one["range"]["start"]["line"] + 1, one["rule"])
        for one in said["generalDiagnostics"]
        if Path(one["file"]).name == name and one["severity"] == "error"
    }


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
    assert found_by_mypy(name, cache) == expected_in(name)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["good.py", "bad.py"])
def test_pyright_sees_the_same(name: str) -> None:
    assert found_by_pyright(name) == {(line, PYRIGHT_CODES[code]) for line, code in expected_in(name)}
