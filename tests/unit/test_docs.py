"""The documents name tests, settings and modules: they must be there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from celery.app.defaults import SETTINGS, UNLISTED
from celery.worker.notices import NOT_EFFECTIVE, NOT_EFFECTIVE_FAMILIES, NOT_NEEDED

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md")) + sorted(ROOT.glob("*.md"))
TEST = re.compile(r"\btests/[\w/]+\.py(?:::\w+)?")


def functions_of(file: Path) -> set[str]:
    nodes = ast.walk(ast.parse(file.read_text()))
    return {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_tests_exist(page):
    for reference in sorted(set(TEST.findall(page.read_text()))):
        name, _, test = reference.partition("::")
        file = ROOT / name
        assert file.exists(), f"{page.name} names {name}"
        assert not test or test in functions_of(file), f"{page.name} names {reference}"


def test_the_design_names_modules_and_packages_that_exist():
    page = (ROOT / "docs/design.md").read_text()
    package = ROOT / "src/celery"
    files = [f"/{file.relative_to(package)}" for file in package.rglob("*.py")]
    for name in set(re.findall(r"`([\w/]+\.py)`", page)):
        assert any(file.endswith(f"/{name}") for file in files), name
    for name in set(re.findall(r"`(\w+)/`", page)):
        assert any(f"/{name}/" in file for file in files), name
    packages = {folder.name for folder in package.iterdir() if (folder / "__init__.py").exists()}
    assert {name for name in packages if f"`{name}/`" not in page} == set()


def test_every_setting_is_mentioned():
    page = (ROOT / "docs/coverage.md").read_text()
    names = [row.name for row in SETTINGS] + list(UNLISTED)
    assert [name for name in names if f"`{name}`" not in page] == []


def test_settings_stand_under_the_right_heading():
    page = (ROOT / "docs/coverage.md").read_text()
    effective = page.partition("## The settings")[2].partition("### No effect yet")[0]
    without = set(NOT_EFFECTIVE) | set(NOT_NEEDED)
    for row in SETTINGS:
        family = row.name.partition("_")[0] + "_"
        idle = row.name in without or family in NOT_EFFECTIVE_FAMILIES
        assert (f"`{row.name}`" in effective) is not idle, row.name


def test_new_settings_are_listed_as_differences():
    page = (ROOT / "docs/differences.md").read_text()
    ours = [row.name for row in SETTINGS if row.old is None]
    assert [name for name in ours if f"`{name}`" not in page] == []


def test_decisions_are_numbered_once():
    numbers = [path.name[:4] for path in (ROOT / "docs/decisions").glob("*.md")]
    assert len(numbers) == len(set(numbers))


def test_pages_speak_of_the_project_only():
    for page in PAGES:
        assert "../shared" not in page.read_text(), page.name
