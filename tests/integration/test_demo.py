"""`make demo`, with fewer orders: the books agree although a worker process was killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(150)
def test_every_order_exactly_once(tmp_path: Path) -> None:
    env = {key: value for key, value in os.environ.items() if not key.startswith("CELERY")}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "examples.fulfilment.demo",
            "--orders",
            "80",
            "--home",
            str(tmp_path / "shop"),
        ],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=140,
    )
    assert done.returncode == 0, (
        done.stdout + done.stderr + (tmp_path / "shop/worker.log").read_text()[-4000:]
    )
    assert "kill -9" in done.stdout
    assert done.stdout.count("✔") == 5
