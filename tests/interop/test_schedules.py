"""Schedules say what Celery's say: random crontabs, intervals and places of the sun, at random times."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

from tests.support import clean_environment

#: Zones whose clocks are not changed: there Celery and we differ on purpose.
CODE = """
    import json, random, pickle
    from datetime import datetime, timedelta, timezone
    from celery import Celery
    from celery.schedules import crontab, schedule

    chance = random.Random(11)

    def field(low, high):
        a, b = sorted(chance.sample(range(low, high + 1), 2))
        return chance.choice(["*", "*", str(a), a, f"{a}-{b}", f"{b}-{a}", f"*/{a or 3}", f"{a},{b}", f"{a}-{b}/2", [a, b]])

    answers = []
    for number in range(400):
        app = Celery(set_as_current=False)
        app.conf.timezone = chance.choice(["UTC", "Asia/Tokyo", "Asia/Kolkata", "America/Phoenix"])
        now = datetime(2024, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=chance.randrange(5 * 365 * 86400))
        last = now - timedelta(seconds=chance.choice([1, 59, 61, 3600, 86400, 40 * 86400, -30]) * chance.random())
        app.conf.beat_cron_starting_deadline = chance.choice([None, None, 30, 4000])
        fields = field(0, 59), field(0, 23), field(0, 6), field(1, 31), field(1, 12)
        try:
            made = chance.choice([crontab, crontab, schedule])
            if made is schedule:
                found = schedule(chance.choice([1, 90, 5400.5, 90000]), relative=chance.random() < 0.5)
                found.nowfun, found.app = (lambda: now), app
            else:
                found = crontab(*fields, nowfun=lambda: now, app=app)
        except ValueError as exc:
            answers.append(str(exc))
            continue
        due, seconds = found.is_due(last)
        left = found.remaining_estimate(last).total_seconds()
        answers.append([repr(found), due, round(seconds, 3), round(left, 3)])
    print(json.dumps(answers))
"""


def test_as_celery_says(stock_celery, tmp_path):
    stock = stock_celery.json(tmp_path, CODE)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CODE)],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    ours = json.loads(done.stdout.splitlines()[-1])
    differ = [(one, other) for one, other in zip(stock, ours, strict=True) if one != other]
    assert not differ, f"{len(differ)} of {len(stock)}: {differ[:5]}"


def test_pickles_are_read_by_either(stock_celery, tmp_path):
    write = """
        import base64, json, pickle
        from datetime import timedelta
        from celery.schedules import crontab, schedule
        print(json.dumps(base64.b64encode(pickle.dumps([crontab("*/5", day_of_week="mon-fri"), schedule(30, True)])).decode()))
    """
    read = """
        import base64, json, os, pickle
        one, two = pickle.loads(base64.b64decode(os.environ["PICKLE"]))
        print(json.dumps([repr(one), sorted(one.day_of_week), two.seconds, two.relative]))
    """

    def ours(code: str, **env: str) -> object:
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            env=clean_environment(**env),
            capture_output=True,
            text=True,
            check=True,
            timeout=50,
        )
        return json.loads(done.stdout)

    expected = ["<crontab: */5 * * * mon-fri (m/h/dM/MY/d)>", [1, 2, 3, 4, 5], 30.0, True]
    assert ours(read, PICKLE=stock_celery.json(tmp_path, write)) == expected
    assert stock_celery.json(tmp_path, read, PICKLE=ours(write)) == expected
