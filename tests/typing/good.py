"""Must type-check: run by test_typing.py with mypy --strict."""

from __future__ import annotations

from typing import Any, assert_type

from celery import Celery, Task, chain, chord, group, shared_task, signature
from celery.canvas import Signature, _chain
from celery.result import AsyncResult, GroupResult
from celery.signals import task_failure, task_prerun

app = Celery("typed")


@app.task
def add(x: int, y: int = 1) -> int:
    return x + y


@app.task(name="named", acks_late=True)
def named(x: int) -> str:
    return str(x)


@app.task(bind=True)
def bound(self: Task, x: int) -> str:
    return f"{self.name}{x}"


@app.task(bind=True, max_retries=5)
def bound_untyped_self(self: Any, x: int) -> str:
    if x < 0:
        raise self.retry(countdown=3)
    return str(x)


@shared_task
def shared(x: bytes) -> bytes:
    return x


@shared_task(bind=True)
def shared_bound(self: Task, x: int) -> float:
    return float(x)


@app.task
async def later(x: int) -> str:
    return str(x)


@app.task(bind=True)
async def bound_later(self: Task, x: int) -> str:
    return str(x)


@app.on_after_configure.connect
def planned(sender: Celery, **kwargs: object) -> None:
    sender.add_periodic_task(10.0, add.s(1, 2), name="every ten seconds")


@task_prerun.connect
def begun(task_id: str | None = None, **kwargs: object) -> None:
    print(task_id)


@task_failure.connect(sender=add, weak=False)
def failed(exception: BaseException | None = None, **kwargs: object) -> None:
    print(exception)


class Scale(Task[[int, int], int]):
    name = "scale"

    def run(self, x: int, by: int) -> int:
        return x * by


class Loose(Task):
    def run(self, x: int) -> int:
        return x

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None: ...


scale = app.register_task(Scale())
loose = app.register_task(Loose)

assert_type(add(1, 2), int)
assert_type(add.delay(1, 2), AsyncResult[int])
assert_type(add.delay(1, y=2).get(), int)
assert_type(add.apply_async((1, 2), countdown=3, queue="q").get(), int)
assert_type(add.apply((1, 2)).get(), int)
assert_type(add.s(1), Signature[int])
assert_type(add.s(1).delay(2).get(), int)
assert_type(named.delay(1).get(), str)
assert_type(bound.delay(1).get(), str)
assert_type(bound_untyped_self.delay(1).get(), str)
assert_type(shared.delay(b"").get(), bytes)
assert_type(shared_bound.delay(1).get(), float)
assert_type(later.delay(1).get(), str)
assert_type(bound_later.delay(1).get(), str)
assert_type(scale.delay(1, 2).get(), int)
assert_type(scale, Scale)
loose.delay(1)
loose.delay(1, "anything")
assert_type(app.AsyncResult("id"), AsyncResult[Any])
assert_type(app.send_task("by.name", args=[1]), AsyncResult[Any])
assert_type(signature("by.name"), Signature[Any])
assert_type(~add.s(1, 2), int)
assert_type(add.s(1).explain(), str)
chain(add.s(1, 2), add.s(3)).apply_async(countdown=3)
group(add.s(1, 2), named.s(3)).skew(start=1)
chord([add.s(1, 2)], named.s()).on_error(named.s())
(add.s(1) | group(add.s(2), add.s(3)) | named.s()).delay(4)
add.chunks([(1, 2)], 10).apply_async()

# Workflows have the type of their last step; groups a list.
assert_type((add.s(1, 2) | named.s()).delay().get(), str)
assert_type((add.s(1, 2) | named.s() | add.s(1)).delay().get(), int)
assert_type((add.s(1, 2) | named.s()).apply_async(countdown=3), AsyncResult[str])
assert_type(chain(add.s(1, 2), named.s()).delay().get(), str)
assert_type(chain(add.s(1, 2), add.s(3), named.s())().get(), str)
assert_type((chain(add.s(1, 2), named.s()) | add.s(3)).delay().get(), int)
assert_type(~(add.s(1, 2) | named.s()), str)
assert_type(group(add.s(1, 2), add.s(3, 4)).delay(), GroupResult[int])
assert_type(group([add.s(1, 2), add.s(3, 4)])().get(), list[int])
assert_type(group(named.s(n) for n in range(3)).apply_async().get(), list[str])
assert_type((add.s(1, 2) | group(named.s(), named.s())).delay(), GroupResult[str])
assert_type(chain(add.s(1, 2), group(named.s(), named.s())).delay().get(), list[str])
assert_type((group(add.s(1, 2), add.s(3)) | named.s()).delay().get(), str)
assert_type((group(add.s(1, 2), add.s(3)) | named.s() | add.s(1)).delay().get(), int)
assert_type((group(add.s(1), add.s(2)) | group(named.s(), named.s())).delay().get(), list[str])
assert_type(chord([add.s(1, 2)], named.s()).delay().get(), str)
assert_type(chord([add.s(1, 2)])(named.s()).get(), str)
assert_type(chord(group(add.s(1, 2)), named.s() | add.s(1))().get(), int)
chain([add.s(1, 2), named.s()]).delay().get()
chain(*[add.s(n) for n in range(3)]).delay().get()
print(group([add.s(1, 2), named.s(3)]).delay().results)
group(add.s(1, 2)).delay()[0].get()
(add.s(1) | named.s()).link(named.s())
group().delay()
chain().delay()
result = (add.s(1, 2) | named.s()).delay()
assert_type(result.resume(), AsyncResult[str])
assert_type(result.get(on_progress=print), str)
assert_type(add.s(1) | named.s(), _chain[str])


async def main() -> None:
    assert_type(await add.adelay(1, 2), AsyncResult[int])
    assert_type(await (await add.adelay(1)).aget(), int)
    assert_type(await add.aapply_async((1,)), AsyncResult[int])
    assert_type(await later(1), str)
    assert_type(await (await (add.s(1, 2) | named.s()).adelay()), str)
    assert_type(await (await group(add.s(1, 2), add.s(3)).adelay()), list[int])
    assert_type(await (await chord([add.s(1, 2)], named.s()).aapply_async()), str)
    assert_type(await (await add.adelay(1)).aget(on_progress=print), int)


async def many() -> None:
    assert_type(app.send_many(add, [(1, 2)]), list[AsyncResult[int]])
    assert_type(await app.asend_many(named, [(1,)]), list[AsyncResult[str]])
    assert_type(app.send_many("by.name", [(1,)]), list[AsyncResult[Any]])


class Base(Task[..., Any]):
    abstract = True


@app.task(base=Base)
def based(x: int) -> str:
    return str(x)


@shared_task(name="options", acks_late=True, autoretry_for=(ValueError,), retry_backoff=True)
def with_options(x: int, *, flag: bool = False) -> None: ...


assert_type(based.delay(1).get(), str)
assert_type(with_options.delay(1, flag=True).get(), None)
assert_type(add.si(1, 2)(), int)
assert_type(add.AsyncResult("an-id").get(), int)
assert_type(signature("by.name"), Signature[Any])
add.apply_async((1, 2), link=add.s(3), link_error=[add.s(1)], queue="q", priority=3, headers={"a": 1})

app.conf.update(task_always_eager=True)
app.conf.broker_url = "memory://"
app.conf.result_backend = "cache+memory://"
app.conf.timezone = "Europe/Oslo"
app.conf.task_default_exchange = "tasks"
app.autodiscover_tasks(["package"])
