"""The memory of a process as a result store."""

from __future__ import annotations

import time
from unittest import mock

from celery.backends import memory


def test_books_are_kept_however_many_there_are():
    books = memory._Books()
    with mock.patch.object(memory, "LIMIT", 100):
        for index in range(1000):
            books.put(b"%05d" % index, index, 3600)
    assert books.get(b"00000") == 0
    assert books.scan(b"0012") == [(b"%05d" % index, index) for index in range(120, 130)]
    books.delete(b"0012")
    assert books.scan(b"001") == [
        (b"%05d" % index, index) for index in range(100, 200) if not 120 <= index < 130
    ]


def test_books_that_have_expired_go_when_there_are_many():
    with mock.patch.object(memory, "LIMIT", 100), mock.patch.object(time, "monotonic") as clock:
        clock.return_value = 0.0
        books = memory._Books()
        for index in range(99):
            books.put(b"old%d" % index, index, 10)
        clock.return_value = 11.0
        assert books.get(b"old0") is None
        for index in range(3):
            books.put(b"new%d" % index, index, 10)
        assert [key for key, _ in books.scan(b"")] == [b"new0", b"new1", b"new2"]
        assert len(books._keys) == len(books._values) == 3
