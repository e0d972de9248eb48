"""Installed distributions are found as `importlib.metadata` finds them, mostly without it."""

from __future__ import annotations

import sys
from importlib import metadata
from zipfile import ZipFile

import pytest

from celery.utils import installed


def pairs(points):
    return sorted((point.name, point.value) for point in points)


@pytest.mark.parametrize("group", ["console_scripts", "pytest11", "no.such.group"])
def test_finds_what_importlib_metadata_finds(group):
    assert pairs(installed.entry_points(group)) == pairs(metadata.entry_points(group=group))


@pytest.mark.parametrize("name", ["celeriac", "msgspec", "import-linter", "Import_Linter", "PyYAML"])
def test_versions(name):
    assert installed.version_of(name) == metadata.version(name)


def test_what_is_not_installed_has_no_version():
    assert installed.version_of("no-such-distribution") is None


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def install(shelf, name, version, points, module=""):
    info = shelf / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(points)
    if module:
        (shelf / f"{module}.py").write_text("class Box:\n    lid = 'shut'\n")


def test_an_entry_point_is_loaded(shelf):
    install(
        shelf,
        "box_maker",
        "2.0+local",
        "[other]\nno = nowhere\n\n[boxes]\n# a remark\nlid = boxes_of_test:Box.lid [extra]\nmod=boxes_of_test\n",
        "boxes_of_test",
    )
    lid, module = installed.entry_points("boxes")
    assert (lid.name, lid.load()) == ("lid", "shut")
    assert module.load().Box.lid == "shut"
    assert installed.version_of("box.maker") == "2.0+local"


def test_the_first_on_the_path_hides_another_version(shelf, tmp_path, monkeypatch):
    install(shelf, "box", "1", "[boxes]\nold = a:b\n")
    front = tmp_path / "front"
    front.mkdir()
    monkeypatch.syspath_prepend(str(front))
    install(front, "box", "2", "[boxes]\nnew = a:b\n")
    assert [point.name for point in installed.entry_points("boxes")] == ["new"]
    assert installed.version_of("box") == "2"


def test_a_zip_file_on_the_path_is_read_too(tmp_path, monkeypatch):
    archive = tmp_path / "zipped.zip"
    with ZipFile(archive, "w") as file:
        file.writestr("zipped-3.dist-info/METADATA", "Metadata-Version: 2.1\nName: zipped\nVersion: 3\n")
        file.writestr("zipped-3.dist-info/entry_points.txt", "[boxes]\nzip = a:b\n")
    monkeypatch.setattr(sys, "path", [str(archive), *sys.path])
    assert [point.name for point in installed.entry_points("boxes")] == ["zip"]
    assert installed.version_of("zipped") == "3"
    assert installed.version_of("missing-from-there") is None
