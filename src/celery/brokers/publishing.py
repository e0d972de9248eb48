"""Sending with patience: the publish retry policy, inside one deadline for everything."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from celery._foreign import operational_error

from .base import BrokerError, BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from celery.exceptions import OperationalError

    from .base import Outgoing, Publisher

#: Seconds that one publish may take, retries included, unless `task_publish_timeout` says otherwise.
DEFAULT_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`task_publish_retry_policy`, read once.

    Attributes:
        max_retries: attempts after the first; 0 for none, None for as many as the deadline allows.
        interval_start, interval_step, interval_max: seconds before the first retry, added for each one
            after it, and at most.
        retry_errors: further exception classes to retry on.
        errback: called with the exception and the seconds of the coming pause.
    """

    max_retries: int | None = 3
    interval_start: float = 0.0
    interval_step: float = 0.2
    interval_max: float = 1.0
    retry_errors: tuple[type[Exception], ...] = ()
    errback: Callable[[BaseException, float], Any] | None = None

    @classmethod
    def read(cls, policy: Mapping[str, Any] | None) -> RetryPolicy:
        """Read Celery's mapping; what it does not say keeps its default. Unknown keys are an error.

        Raises:
            TypeError: naming the key.
        """
        given = dict(policy or {})
        unknown = [key for key in given if key not in cls.__dataclass_fields__]
        if unknown:
            raise TypeError(
                f"task_publish_retry_policy: unknown key {unknown[0]!r}; it knows "
                f"{', '.join(cls.__dataclass_fields__)}."
            )
        # None means no limit for `max_retries`, and the default for everything else.
        values = {key: value for key, value in given.items() if value is not None or key == "max_retries"}
        if "retry_errors" in values:
            values["retry_errors"] = tuple(values["retry_errors"])
        return cls(**values)

    def pauses(self) -> Iterator[float]:
        """Seconds to wait before each retry.

        >>> list(RetryPolicy().pauses())
        [0.0, 0.2, 0.4]
        """
        count = 0
        while self.max_retries is None or count < self.max_retries:
            yield min(self.interval_start + count * self.interval_step, self.interval_max)
            count += 1


#: One attempt.
NEVER = RetryPolicy(max_retries=0)


class _Attempts:
    """What is left to send, and what became of the rest; made when the first attempt has failed.

    Args:
        batch: all messages.
        deadline: `time.monotonic()` value.
    """

    def __init__(self, batch: Sequence[Outgoing], policy: RetryPolicy, deadline: float, url: str) -> None:
        self._batch = batch
        self._policy = policy
        self._deadline = deadline
        self._url = url
        self._pauses = policy.pauses()
        self._tried = 0
        self._left = list(range(len(batch)))
        self.outcomes: list[BrokerError | None] = [None] * len(batch)

    def rest(self) -> Sequence[Outgoing]:
        """What is to be sent next."""
        return [self._batch[index] for index in self._left]

    def over(self, outcomes: Sequence[BrokerError | None], failure: Exception | None) -> float | None:
        """Note how an attempt went.

        Args:
            failure: what it raised; then there are no outcomes.

        Returns:
            None if there is nothing more to send, else how long to wait before the next attempt.

        Raises:
            OperationalError: there is none.
            Exception: the failure itself, if it has nothing to do with brokers and the policy does not name it.
        """
        self._tried += 1
        error = failure if failure is not None else self._sort(outcomes)
        if error is None:
            return None
        if not isinstance(error, (BrokerUnavailable, *self._policy.retry_errors)):
            if isinstance(error, BrokerError):
                raise self._failed(error) from error
            raise error
        return self._pause(error)

    def _sort(self, outcomes: Sequence[BrokerError | None]) -> BrokerError | None:
        """Keep outcomes; the error for which another attempt is worth it, if any."""
        again: list[int] = []
        for index, outcome in zip(self._left, outcomes, strict=True):
            self.outcomes[index] = outcome
            if isinstance(outcome, BrokerUnavailable):
                again.append(index)
        self._left = again
        return self.outcomes[again[0]] if again else None

    def _pause(self, error: Exception) -> float:
        seconds = next(self._pauses, None)
        if seconds is None:
            limit = "task_publish_retry_policy allows no more attempts"
        elif time.monotonic() + seconds >= self._deadline:
            limit = "task_publish_timeout is over"
        else:
            if self._policy.errback is not None:
                self._policy.errback(error, seconds)
            return seconds
        raise self._failed(error, f"after {self._tried} attempts; {limit}") from error

    def _failed(self, error: Exception, how: str = "") -> OperationalError:
        failed = publish_error(self._url, error, how)
        rest = set(self._left)
        failed.outcomes = [  # type: ignore[attr-defined]  # documented in `publish`
            error if index in rest else outcome for index, outcome in enumerate(self.outcomes)
        ]
        return failed


def publish(
    publisher: Publisher,
    batch: Sequence[Outgoing],
    policy: RetryPolicy = NEVER,
    deadline: float | None = None,
    *,
    url: str = "",
) -> list[BrokerError | None]:
    """Send a batch, trying again as the policy says, inside one deadline.

    Args:
        deadline: `time.monotonic()` value; None for `DEFAULT_TIMEOUT` from now.
        url: of the broker, for error messages (its password is masked).

    Returns:
        One entry per message: None if the broker has it, else why it refused it.

    Raises:
        OperationalError: kombu's as well as ours; some or all of the messages were not accepted. Its `outcomes` has
            one entry per message, as above.
    """
    deadline = time.monotonic() + DEFAULT_TIMEOUT if deadline is None else deadline
    attempts: _Attempts | None = None
    while True:
        outcomes: list[BrokerError | None] = []
        failure: Exception | None = None
        try:
            outcomes = publisher.publish(attempts.rest() if attempts else batch, deadline=deadline)
            if attempts is None and not any(outcomes):
                return outcomes
        except Exception as error:  # noqa: BLE001 - `over` raises what it does not know
            failure = error
        attempts = attempts or _Attempts(batch, policy, deadline, url)
        pause = attempts.over(outcomes, failure)
        if pause is None:
            return attempts.outcomes
        time.sleep(pause)


async def apublish(
    publisher: Publisher,
    batch: Sequence[Outgoing],
    policy: RetryPolicy = NEVER,
    deadline: float | None = None,
    *,
    url: str = "",
) -> list[BrokerError | None]:
    """`publish`, awaited."""
    import asyncio  # noqa: PLC0415 - a program that only calls `delay` need not load it

    deadline = time.monotonic() + DEFAULT_TIMEOUT if deadline is None else deadline
    attempts: _Attempts | None = None
    while True:
        outcomes: list[BrokerError | None] = []
        failure: Exception | None = None
        try:
            outcomes = await publisher.apublish(attempts.rest() if attempts else batch, deadline=deadline)
            if attempts is None and not any(outcomes):
                return outcomes
        except Exception as error:  # noqa: BLE001 - `over` raises what it does not know
            failure = error
        attempts = attempts or _Attempts(batch, policy, deadline, url)
        pause = attempts.over(outcomes, failure)
        if pause is None:
            return attempts.outcomes
        await asyncio.sleep(pause)


def publish_error(url: str, cause: BaseException, how: str = "") -> OperationalError:
    """The error a caller of `delay()` sees when the broker did not take the message.

    Returns:
        An instance of `celery.exceptions.OperationalError` that `except kombu.exceptions.OperationalError`
        catches too.
    """
    where = mask(url)
    text = str(cause)
    said = text if not where or where in text else f"{where}: {text}"
    return operational_error(f"Cannot publish: {said}" + (f" [{how}]" if how else ""))


def mask(url: str) -> str:
    """The URL with its password hidden; each of several joined by `;`.

    >>> mask('redis://me:secret@host/1')
    'redis://me:**@host/1'
    """
    if ";" in url:
        return ";".join(mask(part) for part in url.split(";"))
    parts = urlsplit(url)
    if parts.password is None:
        return url
    user = quote(parts.username or "", safe="%")
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{user}:**@{host}").geturl()
