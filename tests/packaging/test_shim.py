"""The stand-in distribution `celery`: packages that require Celery leave ours in place."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_forwards_every_bundle() -> None:
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    shim = tomllib.loads((ROOT / "packaging/celery/pyproject.toml").read_text())["project"]
    assert shim["version"] == f"5.7.0+celeriac.{ours['version']}"
    assert shim["dependencies"] == [f"celeriac=={ours['version']}"]
    assert shim["optional-dependencies"] == {
        name: [f"celeriac[{name}]=={ours['version']}"] for name in ours["optional-dependencies"]
    }


@pytest.mark.timeout(300)
def test_packages_that_require_celery_leave_ours_in_place(tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*pip, ROOT, ROOT / "packaging" / "celery")
    run(*pip, "flower", "django-celery-beat")
    where = run(
        python, "-c", "import celery; print(celery.__version__, celery.celeriac_version)", cwd=tmp_path
    )
    assert where.split() == ["5.7.0", "0.1.0"]
    listed = run(python, "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check")
    assert "celery==5.7.0+celeriac.0.1.0" in listed.splitlines()
