import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery.utils import nodenames as n
from celery.utils import process


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("w1@a.b", ["w1", "a.b"]),
        ("a@b@c", ["a", "b@c"]),
        ("@x", ["", "x"]),
        ("foo", (None, "foo")),
        ("", (None, "")),
    ],
)
def test_nodesplit(name, parts):
    assert n.nodesplit(name) == parts


@given(st.text(alphabet=st.characters(exclude_characters="@")), st.text())
def test_splitting_undoes_joining(name, host):
    assert n.nodesplit(n.nodename(name, host)) == [name, host]


@pytest.mark.parametrize(
    ("given", "whole"),
    [
        ("foo", "celery@foo"),
        ("w@x", "w@x"),
        ("@x", "celery@x"),
        ("w@", f"w@{n.gethostname()}"),
        (None, f"celery@{n.gethostname()}"),
    ],
)
def test_default_nodename(given, whole):
    assert n.default_nodename(given) == whole


def test_anonymous():
    assert n.anon_nodename("h") == f"gen{os.getpid()}@h"
    assert n.anon_nodename(prefix="x").endswith(f"@{n.gethostname()}")


def test_percent_signs():
    assert n.node_format("%p %h %n %d %i %I %%", "w1@a.b.c") == "w1@a.b.c a.b.c w1 b.c 0  %"
    assert n.node_format("%n", "w1") == "celery"
    assert n.host_format("%h %n %d %i", "a.b.c") == "a.b.c a b.c 0"
    assert n.host_format("%n", "a.b.c", "nm") == "nm"
    assert n.host_format("%h") == n.gethostname()
    assert n.node_format("%n%I.log", "w1@a", i=3, I="-3") == "w1-3.log"
    with pytest.raises(ValueError, match="Unknown format %p"):
        n.host_format("%p", "a")


def test_percent_signs_of_a_pools_process(monkeypatch):
    monkeypatch.setattr(process, "_current", process.ProcessIdentity("ForkPoolWorker-2", 2))
    assert n.node_format("%n%I.log %i", "w1@a") == "w1-2.log 2"


def test_direct_queue():
    queue = n.worker_direct("w1@a")
    assert (queue.name, queue.exchange.name, queue.routing_key) == ("w1@a.dq2", "C.dq2", "w1@a")
    assert n.worker_direct(queue) is queue
    assert n.WORKER_DIRECT_EXCHANGE.name == "C.dq2"
