"""Notes by which failed workflows are resumed: kept like results, in every store."""

from __future__ import annotations

from celery.backends import notes, resuming


def test_a_note_is_kept_and_replaced(app, make_app, new_id):
    key = new_id()
    part = {"call": {"task": "t", "args": [1, {"a": None}], "options": {"task_id": key}}}
    marks = set()
    for kind in ("step", "chord"):
        assert notes.keep(app.backend, key, {"kind": kind, **part}) == key
        note = notes.read(make_app().backend, key)
        assert (note["kind"], note["call"]) == (kind, part["call"])
        marks.add(note["mark"])
    assert len(marks) == 2
    assert notes.read(app.backend, new_id()) is None
    # It expires like a result, also where that goes by when it was stored.
    assert app.backend.get_task_meta(notes.id_of(key))["date_done"]


def test_a_note_can_be_claimed_once(app, make_app, new_id):
    key, mark = new_id(), new_id()
    assert resuming._claim(app.backend, key, mark)
    assert not resuming._claim(make_app().backend, key, mark)
    assert resuming._claim(app.backend, key, new_id())
