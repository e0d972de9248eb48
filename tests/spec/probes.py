"""Questions put to a fresh Python process, and the answers that are right.

`scripts/NAME.py` asks by `show(label, question)`; `answers/NAME.txt` has what Celery 5.7.0 answered to the same script, or,
below a line that starts with `#` and says why, what is right here. To hear Celery: run the script by a Python that has it.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support import Project

HERE = Path(__file__).parent


def right_answers(name: str) -> dict[str, str]:
    """Label -> answer."""
    lines = (HERE / "answers" / f"{name}.txt").read_text().splitlines()
    return _by_label(line for line in lines if not line.startswith("#"))


def ask(project: Project, name: str) -> dict[str, str]:
    """Run `scripts/NAME.py` in the project; return label -> answer."""
    for script in ("probe", name):
        shutil.copy(HERE / "scripts" / f"{script}.py", project.path)
    return _by_label(project.run(sys.executable, f"{name}.py").stdout.splitlines())


def _by_label(lines) -> dict[str, str]:
    return {label: answer for label, _, answer in (line.partition(" => ") for line in lines) if label}
