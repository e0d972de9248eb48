"""Configuration, tasks, calling, results: what a user sees is what Celery 5.7.0 shows, or better."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.spec.probes import ask, right_answers
from tests.support import Project

if TYPE_CHECKING:
    from collections.abc import Callable

SCRIPTS = (
    "configuration",
    "strictness",
    "tasks",
    "calling",
    "results",
    "helpers",
    "parts",
    "transport",
    "canvas",
    "sets",
    "workflows",
    "sent",
    "eager",
    "stamping",
    "signatures",
)
RIGHT = {name: right_answers(name) for name in SCRIPTS}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, str]]:
    """Asks each script once."""
    heard: dict[str, dict[str, str]] = {}

    def answers_of(name: str) -> dict[str, str]:
        if name not in heard:
            heard[name] = ask(Project(tmp_path_factory.mktemp(name)), name)
        return heard[name]

    return answers_of


@pytest.mark.parametrize(
    ("script", "label"),
    [(name, label) for name, right in RIGHT.items() for label in right],
)
def test_answer(script: str, label: str, answers: Callable[[str], dict[str, str]]) -> None:
    assert answers(script)[label] == RIGHT[script][label]


@pytest.mark.parametrize("script", RIGHT)
def test_every_question_has_a_right_answer(script: str, answers: Callable[[str], dict[str, str]]) -> None:
    assert set(answers(script)) == set(RIGHT[script])
