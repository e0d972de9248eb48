"""Notes by which failed workflows are resumed: kept like results, in every store."""

from __future__ import annotations

from celery.backends import resume_notes, resuming
from celery.backends.dues import Due


def test_a_note_is_kept_and_replaced(app, make_app, new_id):
    key = new_id()
    part = {"call": {"task": "t", "args": [1, {"a": None}], "options": {"task_id": key}}}
    marks = set()
    for kind in ("step", "chord"):
        assert resume_notes.keep(app.backend, key, {"kind": kind, **part}) == key
        note = resume_notes.read(make_app().backend, key)
        assert (note["kind"], note["call"]) == (kind, part["call"])
        marks.add(note["mark"])
    assert len(marks) == 2
    assert resume_notes.read(app.backend, new_id()) is None
    # It expires like a result, also where that goes by when it was stored.
    assert app.backend.get_task_meta(resume_notes.id_of(key))["date_done"]


def test_a_note_can_be_claimed_once(app, make_app, new_id):
    key, mark = new_id(), new_id()
    assert resuming._claim(app.backend, key, mark)
    assert not resuming._claim(make_app().backend, key, mark)
    assert resuming._claim(app.backend, key, new_id())


def test_a_chord_that_is_told_twice_is_claimed_once(app, new_id):
    due = Due(
        new_id(), {"task": "body", "args": [], "kwargs": {}, "options": {"task_id": new_id()}}, None, None
    )
    members = [(new_id(), "FAILURE", ValueError("no"))]
    key = resume_notes.keep_chord(app.backend, due, members)
    mark = resume_notes.read(app.backend, key)["mark"]
    assert resume_notes.keep_chord(app.backend, due, members) == key
    assert resume_notes.read(app.backend, key)["mark"] == mark


def test_a_note_that_cannot_be_kept_leaves_no_older_one(app, new_id):
    key = new_id()
    assert resume_notes.keep(app.backend, key, {"kind": "step"})
    assert resume_notes.keep(app.backend, key, {"kind": "step", "call": lambda: None}) is None
    assert resume_notes.read(app.backend, key) is None
