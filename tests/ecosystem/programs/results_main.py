"""Uses the project's tasks and prints what a user sees of their results, one JSON line a subject."""

import json
import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "results_site.settings")
django.setup()

from results_site.books.tasks import add, again, fail, marked, total  # noqa: E402
from results_site.celery import app  # noqa: E402

from celery import chain, chord, group  # noqa: E402


def show(subject, value):
    print(f"{subject}: {json.dumps(value, default=str, sort_keys=True)}")


def outcome(result):
    try:
        return repr(result.get(timeout=40))
    except Exception as exc:
        return f"{type(exc).__module__}.{type(exc).__name__}: {exc}"


show("add", outcome(add.delay(2, 3)))
show("again", outcome(again.delay()))
failed = fail.delay("broken")
show("fail", [outcome(failed), failed.state, "ValueError: broken" in failed.traceback])
show("chain", outcome(chain(add.s(1, 1), add.s(2)).delay()))
many = group(add.s(n, n) for n in range(5)).delay()
show("group", outcome(many))
many.save()
restored = app.GroupResult.restore(many.id)
show("restored", [outcome(restored), restored.completed_count(), len(restored)])
show("chord", outcome(chord([add.s(n, n) for n in range(5)], total.s()).delay()))
nested = chord([chain(add.s(1, 1), add.s(1)), group(add.s(2, 2), add.s(3, 3))], total.s()).delay()
show("nested", outcome(nested))
broken = chord([add.s(1, 1), fail.s("member")], total.s()).delay()
show("broken chord", outcome(broken).partition(":")[0])
result = marked.delay()
show("marked", outcome(result) == repr(result.id))
show(
    "backend", [type(app.backend).__name__, app.backend.as_uri() if hasattr(app.backend, "as_uri") else None]
)
one = add.delay(4, 4)
one.get(timeout=40)
one.forget()
show("forgotten", one.state)
if os.environ["STORE"] == "django-db":
    from django_celery_results.models import ChordCounter, GroupResult, TaskResult

    row = TaskResult.objects.get(task_id=result.id)
    show(
        "row",
        [
            row.status,
            row.task_name,
            row.task_args,
            row.task_kwargs,
            row.content_type,
            json.loads(row.meta)["shelf"],
        ],
    )
    row = TaskResult.objects.get(task_id=failed.id)
    show("failed row", [row.status, row.result, row.task_args, bool(row.worker), bool(row.date_started)])
    show("counts", [GroupResult.objects.count(), ChordCounter.objects.count()])
    meta = app.AsyncResult(failed.id)
    show(
        "extended",
        [meta.name, meta.args, meta.kwargs, bool(meta.worker), meta.retries, str(meta.date_done)[:2]],
    )
    TaskResult.objects.all().update(date_done="2000-01-01T00:00:00Z")
    app.backend.cleanup()
    show("cleaned", TaskResult.objects.count())
