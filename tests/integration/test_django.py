"""A Django project: settings by namespace, tasks in its applications, a worker that uses the database."""

from __future__ import annotations

import sys


def test_without_django(project):
    project.write("django.py", "raise ImportError(name='django')")  # as if it were not installed
    done = project.run(
        sys.executable,
        "-c",
        "from celery import Celery; print(Celery('x'))",
        DJANGO_SETTINGS_MODULE="proj.settings",
    )
    assert "<Celery x" in done.stdout
    assert "Django isn't installed" in done.stderr


def test_a_project(project):
    python = sys.executable
    project.run(python, "-m", "django", "startproject", "proj", ".")
    root = project.path
    (root / "shop").mkdir()
    (root / "shop" / "__init__.py").touch()
    (root / "shop" / "models.py").write_text(
        "from django.db import models\nclass Item(models.Model):\n    name = models.CharField(max_length=50)\n"
    )
    (root / "shop" / "tasks.py").write_text(
        "from celery import shared_task\nfrom .models import Item\n"
        "@shared_task\ndef make(name):\n    Item.objects.create(name=name)\n    return Item.objects.count()\n"
    )
    (root / "proj" / "celery.py").write_text(
        "import os\nfrom celery import Celery\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'proj.settings')\n"
        "app = Celery('proj')\napp.config_from_object('django.conf:settings', namespace='CELERY')\n"
        "app.autodiscover_tasks()\n"
    )
    (root / "proj" / "__init__.py").write_text("from .celery import app as celery_app\n")
    (root / "late.py").write_text(ON_COMMIT)
    settings = root / "proj" / "settings.py"
    settings.write_text(
        settings.read_text() + "INSTALLED_APPS += ['shop']\nCELERY_TASK_TRACK_STARTED = True\n"
    )
    project.run(python, "manage.py", "makemigrations", "shop")
    project.run(python, "manage.py", "migrate")
    with project.worker(app="proj"):
        out = project.run(
            python,
            "manage.py",
            "shell",
            "-c",
            "from shop.tasks import make\nprint([make.delay('x').get(timeout=10) for _ in range(3)], make.track_started)",
        )
        assert "[1, 2, 3] True" in out.stdout
        late = project.run(python, "manage.py", "shell", "-c", "import late")
    assert late.stdout.splitlines()[-2:] == ["0 None None", "kept kept outside"], late.stdout


#: Calls made inside of a transaction leave with its commit, or never.
ON_COMMIT = """
import contextlib
from celery.signals import before_task_publish
from django.db import transaction
from shop.tasks import make

sent = []
before_task_publish.connect(lambda body, **_: sent.append(body[0][0]), weak=False)
with contextlib.suppress(ZeroDivisionError), transaction.atomic():
    make.delay_on_commit("rolled back")
    1 / 0
with transaction.atomic():
    answers = [make.delay_on_commit("kept"), make.apply_async_on_commit(("kept",), countdown=0)]
    print(len(sent), *answers)
make.delay_on_commit("outside")
print(*sent)
"""
