"""`make demo`, with fewer orders: the books agree although a worker process was killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(200)
@pytest.mark.parametrize("broker", ["embedded", "redis", "rabbitmq"])
def test_every_order_exactly_once(tmp_path: Path, broker: str) -> None:
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
            "--broker",
            broker,
        ],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=190,
    )
    assert done.returncode == 0, (
        done.stdout + done.stderr + (tmp_path / "shop/worker.log").read_text()[-4000:]
    )
    assert "kill -9" in done.stdout
    assert done.stdout.count("✔") == 5


@pytest.mark.parametrize(("broker", "package"), [("redis", "redis-server"), ("rabbitmq", "rabbitmq-server")])
def test_a_missing_server_is_one_line(tmp_path: Path, broker: str, package: str) -> None:
    if broker == "rabbitmq" and Path("/usr/lib/rabbitmq/bin/rabbitmq-server").exists():
        pytest.skip("it is installed where Debian has it")
    command = [sys.executable, "-m", "examples.fulfilment.demo", "--home", str(tmp_path / "shop")]
    done = subprocess.run(
        [*command, "--orders", "1", "--broker", broker],
        cwd=ROOT,
        env=os.environ | {"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 1
    assert done.stderr.strip().count("\n") == 0
    assert f"apt-get install {package}" in done.stderr
