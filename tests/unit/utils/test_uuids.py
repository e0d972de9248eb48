import os
import threading
import uuid as stdlib

from celery.utils import gen_unique_id, uuid


def test_ids_are_random_uuids():
    for _ in range(600):
        text = uuid()
        parsed = stdlib.UUID(text)
        assert parsed.version == 4
        assert parsed.variant == stdlib.RFC_4122
        assert str(parsed) == text
    assert gen_unique_id is uuid


def test_another_maker_can_be_given():
    assert uuid(lambda: stdlib.UUID(int=5)) == str(stdlib.UUID(int=5))


def test_threads_never_share_one():
    made = []

    def make():
        made.extend(uuid() for _ in range(2000))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == len(made) == 16000


def test_a_child_does_not_continue_its_parents_batch():
    uuid()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, "".join(uuid() for _ in range(20)).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    theirs = {text[at : at + 36] for at in range(0, len(text), 36)}
    assert len(theirs) == 20
    assert not theirs & {uuid() for _ in range(600)}
