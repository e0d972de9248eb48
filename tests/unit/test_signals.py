import gc
import logging

import pytest

from celery import signals
from celery.local import PromiseProxy
from celery.utils.dispatch import Signal, signal


@pytest.fixture
def moment():
    return Signal(name="moment", providing_args={"a"})


def hear(log):
    def receiver(sender, **named):
        named.pop("signal")
        log.append((sender, named))
        return len(log)

    return receiver


def test_receivers_are_called_and_answer(moment):
    log = []
    receiver = hear(log)
    assert moment.connect(receiver) is receiver
    assert moment.send("s", a=1) == [(receiver, 1)]
    assert moment.send(sender="s", a=2) == [(receiver, 2)]
    assert log == [("s", {"a": 1}), ("s", {"a": 2})]
    assert moment.send_robust("s") == [(receiver, 3)]


def test_nobody_listening(moment):
    assert not moment
    assert not moment.receivers
    assert moment.send("s", a=1) == []
    assert not moment.has_listeners("s")


def test_connecting_twice_changes_nothing(moment):
    receiver = hear([])
    moment.connect(receiver)
    moment.connect(receiver)
    assert len(moment.receivers) == 1
    moment.connect(receiver, sender="other")
    assert len(moment.receivers) == 2
    first, second = hear([]), hear([])
    moment.connect(first, dispatch_uid="one")
    moment.connect(second, dispatch_uid="one")
    assert len(moment.receivers) == 3


def test_senders_are_told_apart(moment):
    log = []
    receiver = hear(log)
    sender = object()
    moment.connect(receiver, sender=sender)
    moment.send(object())
    assert log == []
    moment.send(sender)
    assert log == [(sender, {})]
    assert moment.has_listeners(sender)
    assert not moment.has_listeners("other")


def test_a_sender_can_be_named(moment):
    class Task:
        name = "proj.add"

    log = []
    receiver = hear(log)
    moment.connect(receiver, sender="".join(["proj", ".add"]))
    moment.send("proj.add")
    moment.send(Task())
    moment.send("proj.mul")
    assert len(log) == 2


def test_a_task_that_is_not_yet_made_can_be_a_sender(moment):
    class Task:
        name = "t"

    task = Task()
    made = []
    proxy = PromiseProxy(lambda: made.append(1) or task)
    log = []
    receiver = hear(log)
    moment.connect(receiver, sender=proxy)
    assert not made, "connecting must not finalize the app"
    assert proxy.name == "t"
    moment.send(task)
    assert log == [(task, {})]


def test_every_form_of_connect(moment):
    @moment.connect
    def plain(**kwargs):
        pass

    @moment.connect()
    def called(**kwargs):
        pass

    @moment.connect(sender="s", weak=False, dispatch_uid="u")
    def with_options(**kwargs):
        pass

    moment.connect(receiver=hear([]), weak=False)
    moment.connect(hear([]), "s", False)
    assert len(moment.receivers) == 5
    assert callable(plain)
    assert callable(called)
    assert callable(with_options)


def test_disconnect(moment):
    receiver = hear([])
    moment.connect(receiver)
    assert not moment.disconnect(receiver, sender="x")
    assert moment.disconnect(receiver)
    assert not moment.disconnect(receiver)
    moment.connect(receiver, dispatch_uid="u")
    assert moment.disconnect(dispatch_uid="u")
    assert not moment


def test_receivers_must_accept_anything(moment):
    with pytest.raises(ValueError, match="must accept keyword arguments"):
        moment.connect(lambda sender: None)
    with pytest.raises(TypeError, match="callable"):
        moment.connect(3)


def test_an_exception_is_logged_and_is_the_answer(moment, caplog):
    def bad(**kwargs):
        raise KeyError("x")

    log = []
    good = hear(log)
    moment.connect(bad)
    moment.connect(good)
    with caplog.at_level(logging.ERROR):
        answers = dict(moment.send("s"))
    assert isinstance(answers[bad], KeyError)
    assert log == [("s", {})]
    assert "Signal handler" in caplog.text
    assert "raised: KeyError('x')" in caplog.text


def test_a_weak_receiver_ends_its_connection(moment):
    receiver = hear([])
    moment.connect(receiver)
    del receiver
    gc.collect()
    assert not moment


def test_methods_can_listen(moment):
    class Listener:
        def __init__(self):
            self.heard = 0

        def hear(self, **kwargs):
            self.heard += 1

    listener = Listener()
    moment.connect(listener.hear)
    moment.connect(listener.hear)
    moment.send("s")
    assert listener.heard == 1
    assert moment.disconnect(listener.hear)
    moment.connect(listener.hear)
    del listener
    gc.collect()
    assert not moment


def test_retry_calls_until_it_works(moment, monkeypatch, caplog):
    pauses = []
    monkeypatch.setattr(signal.time, "sleep", pauses.append)
    tries = []

    def flaky(**kwargs):
        tries.append(1)
        if len(tries) < 4:
            raise KeyError(len(tries))
        return "done"

    moment.connect(flaky, retry=True)
    del flaky
    gc.collect()
    [(_, answer)] = moment.send("s")
    assert answer == "done"
    assert pauses == [2.0, 4.0, 6.0]
    assert caplog.text.count("Retrying in") == 3


def test_a_retrying_receiver_can_be_disconnected(moment):
    receiver = hear([])
    moment.connect(receiver, retry=True)
    assert moment.disconnect(receiver)


def test_all_signals_are_there_and_named():
    for name in signals.__all__:
        found = getattr(signals, name)
        assert isinstance(found, Signal)
        assert found.name == name
    assert repr(signals.task_received) == "<Signal: task_received providing_args={'request'}>"
    assert len(signals.__all__) == 34
