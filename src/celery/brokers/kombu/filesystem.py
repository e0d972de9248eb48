"""kombu's file-system transport, made safe: the same files in the same folders, and none of them lost.

The stock transport may read a file before its writer is done, and removes it when it is read, so that whoever dies
with it takes it along. Here a file appears whole (written aside, then renamed), a half-written one is waited for, and a
message that was taken stays on disk until it is acknowledged: in `.unacked/<owner>/` of the folder it came from, where
a lock of its owner tells that he lives. Whoever finds an unlocked one puts everything back, in its old place.
"""

# kombu is typed in parts only.
# mypy: disable-error-code="no-untyped-call,attr-defined,assignment,union-attr,misc,arg-type,no-any-return,override"

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
import uuid
import weakref
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.exceptions import ChannelError
from kombu.transport import filesystem, virtual

from .conversion import DELIVERIES

#: Where the folders of those who hold messages are.
UNACKED = ".unacked"
#: Seconds between looking for the folders of dead owners.
SWEEP_EVERY = 2.0
#: Seconds that a file may be unreadable because its writer is not done.
WRITING = 1.0


class Unreadable(ValueError):
    """A file that is no message; `doc` is what is in it."""

    def __init__(self, name: str, doc: str) -> None:
        super().__init__(f"{name} is no message")
        self.doc = doc


class Claims:
    """The messages of one channel that are taken and not settled, on disk.

    Args:
        folder: where messages are read.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._home = self._folder / UNACKED
        self._own = self._home / uuid.uuid4().hex
        self._lock: Any = None
        self._swept = 0.0
        _open.add(self)

    def take(self, name: str) -> Path | None:
        """Take a file; None if somebody else was faster."""
        if self._lock is None:
            self._own.mkdir(parents=True, exist_ok=True)
            self._lock = (self._own / "lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            return (self._folder / name).rename(self._own / name)
        except FileNotFoundError:
            return None

    def sweep(self) -> None:
        """Put back what the dead held, if it is time to look again."""
        if time.monotonic() - self._swept < SWEEP_EVERY:
            return
        self._swept = time.monotonic()
        with contextlib.suppress(FileNotFoundError):
            for owner in self._home.iterdir():
                if owner != self._own:
                    self._put_back(owner)

    def _put_back(self, owner: Path) -> None:
        try:
            with (owner / "lock").open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for file in owner.glob("*.msg"):
                    self.give_back(file)
                (owner / "lock").unlink(missing_ok=True)
                owner.rmdir()
        except OSError:  # its owner lives, or is just coming or going
            return

    def give_back(self, file: Path) -> None:
        """Offer a message again, in its old place, as one that may have been run."""
        with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
            payload = json.loads(file.read_bytes())
            properties = payload["properties"]
            properties[DELIVERIES] = int(properties.get(DELIVERIES) or 0) + 1
            properties.setdefault("delivery_info", {})["redelivered"] = True
            write_whole(file, payload)
        file.rename(self._folder / file.name)

    def end(self) -> None:
        """Give back all that is left."""
        self.forget()
        self._put_back(self._own)

    def forget(self) -> None:
        """Close the lock: also in a child after a fork, whose life says nothing about its parent's."""
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.close()


_open: weakref.WeakSet[Claims] = weakref.WeakSet()


def _after_fork() -> None:
    for claims in list(_open):
        claims.forget()


os.register_at_fork(after_in_child=_after_fork)


def write_whole(file: Path, payload: Any) -> None:
    """Write a message so that nobody ever sees a part of it."""
    aside = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        with aside.open("wb") as target:
            target.write(json.dumps(payload).encode())
        aside.rename(file)
    except OSError:
        aside.unlink(missing_ok=True)
        raise


class Channel(filesystem.Channel):
    """See the module."""

    # What was not acknowledged goes back by `Claims.end`.
    do_restore = False

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self._claims = Claims(self.data_folder_in)
        self._claimed: dict[str, Path] = {}
        self._unanswered: set[str] = set()

    def _put(self, queue: str, message: Any, **kwargs: Any) -> None:
        del kwargs
        name = f"{round(time.monotonic() * 1000)}_{uuid.uuid4()}.{queue}.msg"
        try:
            write_whole(Path(self.data_folder_out) / name, message)
        except OSError as error:
            raise ChannelError(f"Cannot write {name} into {self.data_folder_out}: {error}") from error

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        del timeout
        self._claims.sweep()
        ending = f"{queue}.msg"
        for name in sorted(os.listdir(self.data_folder_in)):
            if name.partition(".")[2] != ending:
                continue
            file = self._claims.take(name)
            if file is not None:
                return self._taken(queue, file)
        raise Empty

    def _taken(self, queue: str, file: Path) -> Any:
        payload = _read(file)
        properties = payload.get("properties") if isinstance(payload, dict) else None
        if queue in self._unanswered or not isinstance(properties, dict):
            # Nobody will acknowledge it; what is no message is made one by whoever takes it.
            self._done(file)
        else:
            # Copies of one message in several queues have one tag.
            tag = properties["delivery_tag"] = str(uuid.uuid4())
            self._claimed[tag] = file
        return payload

    def _done(self, file: Path) -> None:
        if self.store_processed:
            file.replace(Path(self.processed_folder) / file.name)
        else:
            file.unlink(missing_ok=True)

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> Any:
        """Consume from a queue."""
        if no_ack:
            self._unanswered.add(queue)
        return super().basic_consume(queue, no_ack, *args, **kwargs)

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:
        """The next message of a queue; None if there is none."""
        message = super().basic_get(queue, no_ack=no_ack, **kwargs)
        if message is not None and no_ack:
            self._settle(message.delivery_tag)
        return message

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        """Forget a message for good."""
        super().basic_ack(delivery_tag, multiple)
        self._settle(delivery_tag)

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Drop a message, or offer it again in its old place."""
        if requeue:
            file = self._claimed.pop(delivery_tag, None)
            if file is not None:
                self._claims.give_back(file)
        super().basic_reject(delivery_tag, requeue=False)
        self._settle(delivery_tag)

    def _settle(self, delivery_tag: str) -> None:
        file = self._claimed.pop(delivery_tag, None)
        if file is not None:
            self._done(file)

    def detach(self) -> tuple[Claims, dict[str, Path]]:
        """What this channel holds, for another of this process to `attach`; it holds nothing then."""
        relic = (self._claims, self._claimed)
        self._claims, self._claimed = Claims(self.data_folder_in), {}
        return relic

    def attach(self, relic: tuple[Claims, dict[str, Path]]) -> None:
        """Hold what another channel held."""
        self._claims, self._claimed = relic

    def close(self) -> None:
        """Give back what was not settled."""
        super().close()
        self._claims.end()


def _read(file: Path) -> Any:
    """What is in a file; one that is just being written is waited for."""
    until = time.monotonic() + WRITING
    while True:
        text = file.read_bytes()
        try:
            return json.loads(text)
        except ValueError:
            if time.monotonic() > until:
                file.unlink()
                raise Unreadable(file.name, text.decode(errors="replace")) from None
            time.sleep(0.005)


#: Control folder -> what this process has declared there.
_states: dict[Path, virtual.BrokerState] = {}


class Transport(filesystem.Transport):
    """`filesystem://`."""

    Channel = Channel

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        # kombu has one for all folders, and would not write a binding down in a second one.
        folder = Path(client.transport_options.get("control_folder", "control")).absolute()
        self.state = _states.setdefault(folder, virtual.BrokerState())
