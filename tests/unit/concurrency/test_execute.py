"""A child is killed for the job that is overdue, never for the next one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support import wait_until

from celery.concurrency.prefork.board import Board
from celery.concurrency.prefork.spawner import execute

SLOT = 3


@pytest.fixture
def board():
    board = Board()
    yield board
    board.close()


@pytest.fixture
def child():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def state(process):
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_the_condemned_job_is_killed(board, child):
    board.begin(SLOT, 7, 1.0)
    board.condemn(SLOT, 7)
    assert execute(board, child.pid, SLOT) is None
    assert child.wait(10) == -signal.SIGKILL


@pytest.mark.parametrize("now", ["the next job", "no job"])
def test_whatever_else_runs_goes_on(board, child, now):
    board.begin(SLOT, 7, 1.0)
    board.condemn(SLOT, 7)
    board.end(SLOT)
    if now == "the next job":
        board.begin(SLOT, 8, 2.0)
    assert execute(board, child.pid, SLOT) is None
    wait_until(lambda: state(child) in "SR")
    assert child.poll() is None


def test_one_that_has_ended_is_told(board):
    pid = os.spawnl(os.P_NOWAIT, sys.executable, sys.executable, "-c", "raise SystemExit(3)")
    wait_until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z")
    status = execute(board, pid, SLOT)
    assert status is not None
    assert os.waitstatus_to_exitcode(status) == 3
