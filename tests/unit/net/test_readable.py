"""Waiting for one descriptor."""

from __future__ import annotations

import os
import resource
import socket

import pytest

from celery.net.readable import readable


@pytest.fixture
def pair():
    left, right = socket.socketpair()
    with left, right:
        yield left, right


def test_something_to_read_or_nothing(pair):
    left, right = pair
    assert not readable(left, 0.0)
    right.send(b"x")
    assert readable(left, 5.0)


def test_a_time_that_has_passed_is_no_wait_for_ever(pair):
    assert not readable(pair[0], -1.0)


def test_descriptors_beyond_those_that_select_takes(pair):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2100:
        pytest.skip("so many files are not allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2100), hard))
    high = os.dup2(pair[0].fileno(), 2050)
    try:
        with socket.socket(fileno=high) as far:
            assert not readable(far, 0.0)
            pair[1].send(b"x")
            assert readable(far, 5.0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
