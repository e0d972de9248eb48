"""`celery worker` as a user runs it: banner, options, checks, exit codes."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys

import pytest
from tests.support import WorkerProcess, wait_until

TASKS = """
import json, os
from celery import Celery, signals

app = Celery("tasks")
app.conf.update(json.loads(os.environ.get("TEST_CONF", "{}")))

@app.task
def add(x, y):
    return x + y

@app.task(bind=True)
def where(self):
    return [self.request.hostname, self.request.delivery_info["routing_key"]]

def heard(name):
    def note(sender=None, **kwargs):
        print("SIGNAL", name, kwargs.get("sig", ""), kwargs.get("how", ""), kwargs.get("exitcode", ""), flush=True)
    getattr(signals, name).connect(note, weak=False)

for name in ("celeryd_init", "celeryd_after_setup", "worker_init", "worker_ready", "worker_shutting_down",
             "worker_shutdown"):
    heard(name)
"""


@pytest.fixture
def shop(project):
    project.write("tasks.py", TASKS)
    return project


def test_the_banner_says_what_matters(shop):
    with shop.worker("-n", "w1@example", "-c", "3") as worker:
        said = worker.output
    assert "w1@example" in said
    assert re.search(r"\.> app: +tasks:0x", said)
    assert re.search(r"\.> transport: +/\S+/\.celery/store\.db \(embedded: no broker is configured\)", said)
    assert re.search(r"\.> results: +the same file", said)
    assert re.search(r"\.> concurrency: +3 \(prefork\)", said)
    assert ".> celery           exchange=celery(direct) key=celery" in said
    assert "  . tasks.add" in said
    assert "w1@example ready." in said
    assert said.count("No broker is configured") == 1


def test_solo_runs_one_task_at_a_time_and_says_so(shop):
    with shop.worker("-P", "solo", "-c", "4") as worker:
        said = worker.output
    assert re.search(r"\.> concurrency: +1 \(solo\)", said)


def test_a_strategy_of_ones_own_is_warned_of(shop):
    shop.write(
        "planned.py",
        """
        from tasks import app

        @app.task(Strategy="some.where:strategy")
        def planned():
            pass
        """,
    )
    with shop.worker("-I", "planned") as worker:
        worker.wait_for("Task planned.planned has a Strategy of its own: it has no effect")
        assert worker.output.count("Strategy") == 1


def test_quiet_prints_no_banner(shop):
    worker = shop.celery("-q", "-A", "tasks", "worker", "--dry-run")
    assert "[config]" not in worker.stdout


def test_signals_come_in_order(shop):
    with shop.worker("-c", "1") as worker:
        worker.wait_for("SIGNAL worker_ready")
        worker.send(signal.SIGTERM)
        assert worker.wait() == 0
        heard = re.findall(r"SIGNAL (\w+) (\S*) ?(\S*) ?(\d*)", worker.output)
    assert [name for name, *_ in heard] == [
        "celeryd_init",
        "celeryd_after_setup",
        "worker_init",
        "worker_ready",
        "worker_shutting_down",
        "worker_shutdown",
    ]
    assert heard[4][1:] == ("SIGTERM", "Warm", "0")


def test_queues_are_selected_and_excluded(shop):
    send = "from tasks import *; r = where.apply_async(queue='{}'); print(r.get(timeout=20)[1])"
    with shop.worker("-Q", "images,video"):
        assert shop.python(send.format("images")).strip() == "images"
        assert shop.python(send.format("video")).strip() == "video"
    conf = json.dumps({"task_queues": {"a": {}, "b": {}}, "task_default_queue": "a"})
    with shop.worker("-X", "b", TEST_CONF=conf) as worker:
        assert shop.python(send.format("a"), TEST_CONF=conf).strip() == "a"
        assert ".> b " not in worker.output


def test_an_unknown_queue_is_refused_in_one_line(shop):
    conf = json.dumps({"task_queues": {"a": {}}, "task_create_missing_queues": False})
    done = shop.celery("-A", "tasks", "worker", "-Q", "nowhere", check=False, TEST_CONF=conf)
    assert done.returncode != 0
    assert "Trying to select queue subset of ['nowhere']" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["-n", "w%x"], "--hostname"),
        (["--pidfile", "%x.pid"], "--pidfile"),
        (["-f", "%x.log"], "--logfile"),
        (["-D", "-f", "%x.log"], "--logfile"),
    ],
)
def test_an_unknown_percent_sign_is_refused_in_one_line(shop, arguments, option):
    done = shop.celery("-A", "tasks", "worker", *arguments, check=False)
    assert done.returncode == 2
    said = (done.stdout + done.stderr).strip().splitlines()[-1]
    assert option in said
    assert "unknown % sign in" in said
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("value", ["many", -1, [2]])
def test_a_concurrency_that_is_no_number_is_refused_in_one_line(shop, value):
    conf = json.dumps({"worker_concurrency": value})
    done = shop.celery("-A", "tasks", "worker", check=False, TEST_CONF=conf)
    assert done.returncode != 0
    said = done.stderr.strip().splitlines()[-1]
    assert said == f"Error: worker_concurrency must be a non-negative integer or 'auto', not {value!r}"
    assert "Traceback" not in done.stdout + done.stderr


def test_includes_are_imported(shop):
    shop.write("more.py", "from tasks import app\n\n@app.task\ndef extra():\n    return 'here'\n")
    with shop.worker("-I", "more") as worker:
        assert "  . more.extra" in worker.output
        assert shop.python("from more import extra; print(extra.delay().get(timeout=20))").strip() == "here"


def test_purge_empties_the_queues_first(shop):
    shop.python("from tasks import *; [add.delay(1, 1) for _ in range(3)]")
    with shop.worker("--purge") as worker:
        assert "purge: Erased 3 messages" in worker.output
        assert shop.python("from tasks import *; print(add.delay(1, 2).get(timeout=20))").strip() == "3"
    assert worker.output.count("received") == 1


def test_a_direct_queue(shop):
    conf = json.dumps({"worker_direct": True})
    with shop.worker("-n", "w7@h", TEST_CONF=conf):
        said = shop.python(
            "from tasks import *; print(where.apply_async(queue='w7@h.dq2').get(timeout=20)[0])",
            TEST_CONF=conf,
        )
    assert said.strip() == "w7@h"


def test_pidfile(shop):
    with shop.worker("--pidfile", "w.pid") as worker:
        assert (shop.path / "w.pid").read_text() == f"{worker.pid}\n"
        second = shop.celery("-A", "tasks", "worker", "--pidfile", "w.pid", check=False)
        assert second.returncode == 73
        assert "already exists" in second.stderr
    assert not (shop.path / "w.pid").exists()


def test_log_file_for_every_child(shop):
    with shop.worker("-f", "%n%I.log", "-c", "2", "-n", "w1@h", ready=False):
        main = shop.path / "w1.log"
        wait_until(lambda: main.exists() and "ready." in main.read_text())
        shop.python("from tasks import *; print(add.delay(1, 2).get(timeout=20))")
        children = [shop.path / "w1-1.log", shop.path / "w1-2.log"]
        wait_until(lambda: any(path.exists() and "succeeded in" in path.read_text() for path in children))


def test_dry_run(shop):
    good = shop.celery("-A", "tasks", "worker", "--dry-run")
    assert "Dry run: broker, result store and options are in order." in good.stdout
    assert ".> celery" in good.stdout
    (shop.path / "folder").mkdir()
    conf = json.dumps({"broker_url": f"sqlite:///{shop.path}/folder"})
    bad = shop.celery("-A", "tasks", "worker", "--dry-run", check=False, TEST_CONF=conf)
    assert bad.returncode == 1
    assert f"{shop.path}/folder" in bad.stderr
    assert "Traceback" not in bad.stderr


def test_a_store_that_cannot_be_used_ends_the_worker_with_one_line(shop):
    (shop.path / "folder").mkdir()
    conf = json.dumps({"broker_url": f"sqlite:///{shop.path}/folder"})
    done = shop.celery("-A", "tasks", "worker", "-P", "solo", check=False, TEST_CONF=conf)
    assert done.returncode == 1
    assert f"{shop.path}/folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_settings_without_effect_are_named_once(shop):
    conf = json.dumps(
        {
            "worker_agent": "proj:Agent",
            "worker_pool_restarts": False,
            "security_digest": "md5",
            "security_key_password": "x",
            "beat_schedule": {},
        }
    )
    with shop.worker(TEST_CONF=conf) as worker:
        said = worker.output
    assert said.count("Setting worker_agent='proj:Agent' has no effect in this version") == 1
    assert "worker_pool_restarts" not in said
    assert (
        said.count(
            "No effect in this version, as messages are not signed yet: security_digest, security_key_password."
        )
        == 1
    )
    assert "beat_schedule" not in said


def test_pickle_as_root_is_refused(shop):
    import os

    if os.getuid() != 0:
        pytest.skip("needs root")
    shop.env.pop("C_FORCE_ROOT")
    conf = json.dumps({"accept_content": ["json", "pickle"]})
    done = shop.celery("-A", "tasks", "worker", check=False, TEST_CONF=conf)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo", "asyncio"])
def test_every_pool_runs_tasks_and_ends_warm(shop, pool):
    with shop.worker("-P", pool) as worker:
        said = shop.python(
            "from tasks import *; print([r.get(timeout=20) for r in [add.delay(n, 1) for n in range(20)]])"
        )
        assert said.strip() == str(list(range(1, 21)))
        assert worker.stop() == 0


def test_a_custom_pool(shop):
    shop.write(
        "pools.py",
        """
        from celery.concurrency.base import BasePool, apply_target

        class TaskPool(BasePool):
            def on_apply(self, target, args=None, kwargs=None, callback=None, accept_callback=None, **options):
                return apply_target(target, args, kwargs, callback, accept_callback)
        """,
    )
    with shop.worker("-P", "custom", CELERY_CUSTOM_WORKER_POOL="pools:TaskPool"):
        assert shop.python("from tasks import *; print(add.delay(1, 2).get(timeout=20))").strip() == "3"


def test_a_file_of_an_unknown_task_comes_back_after_the_deploy(shop):
    send = "from tasks import app; print(app.send_task('tasks.later', (5,)).id)"
    with shop.worker() as worker:
        (task_id,) = shop.python(send).split()
        worker.wait_for("Received unregistered task of type 'tasks.later'")
        state = f"from tasks import app; r = app.AsyncResult('{task_id}'); print(r.get(timeout=20, propagate=False))"
        assert "tasks.later" in shop.python(state)
    shop.write("tasks.py", TASKS + "\n@app.task\ndef later(n):\n    return n * 2\n")
    revive = """
        from tasks import *
        broker = app.broker_for_write()
        print(broker.revive([letter.id for letter in broker.dead("celery")]))
    """
    assert shop.python(revive).strip() == "1"
    with shop.worker() as worker:
        worker.wait_for(r"Task tasks\.later\[.*succeeded in .*: 10")


def test_a_standard_output_that_cannot_be_written_is_no_reason_not_to_work(shop):
    log = shop.write("worker.log", "")
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "tasks",
        "worker",
        "-c",
        "1",
        "-l",
        "INFO",
        "-f",
        str(log),
    ]
    with open("/dev/full", "wb") as full:
        process = subprocess.Popen(command, cwd=shop.path, env=shop.env, stdout=full, stderr=full)
    worker = WorkerProcess(process, log)
    try:
        worker.wait_for(r"ready\.")
        assert "Standard output cannot be written" in worker.output
    finally:
        worker.stop()
