from itertools import pairwise

import pytest

from celery import states
from celery.states import state

#: Furthest along first.
ORDER = ["SUCCESS", "FAILURE", "CUSTOM", "REVOKED", "STARTED", "RECEIVED", "REJECTED", "RETRY", "PENDING"]


@pytest.mark.parametrize(("higher", "lower"), list(pairwise(ORDER)))
def test_states_compare_by_how_far_along_they_are(higher, lower):
    assert state(higher) > state(lower)
    assert state(higher) >= lower
    assert state(lower) < state(higher)
    assert state(lower) <= higher
    assert state(lower) <= lower
    assert not state(lower) > lower
    assert states.precedence(higher) < states.precedence(lower)


def test_custom_states_share_one_rank():
    assert states.precedence("PROGRESS") == states.precedence("OTHER") == states.precedence(None)


def test_sets():
    assert {"SUCCESS", "FAILURE", "REVOKED"} == states.READY_STATES
    assert {"PENDING", "RECEIVED", "STARTED", "REJECTED", "RETRY"} == states.UNREADY_STATES
    assert {"RETRY", "FAILURE", "REVOKED"} == states.EXCEPTION_STATES
    assert {"FAILURE", "REVOKED"} == states.PROPAGATE_STATES
    assert (states.READY_STATES | states.UNREADY_STATES) - {"REJECTED"} == states.ALL_STATES
