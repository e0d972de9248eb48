"""Tasks with Pydantic models."""

from __future__ import annotations

import asyncio
from typing import Optional

import pytest
from pydantic import BaseModel, ValidationError, ValidationInfo, field_validator

from celery import Celery


class Order(BaseModel):
    id: int
    note: str | None = None


class Receipt(BaseModel):
    text: str


class Contextual(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def scaled(cls, value: int, info: ValidationInfo) -> int:
        context = info.context or {}
        assert context["celery_app"].main == "proj"
        return value * context.get("by", 1)


@pytest.fixture
def app():
    return Celery("proj", broker="memory://", backend="cache+memory://", set_as_current=False)


@pytest.fixture
def sent(app):
    calls = []
    app.send_task = lambda name, args, kwargs, **options: calls.append((args, kwargs))
    return calls


def test_models_in_and_out(app):
    @app.task(pydantic=True)
    def fun(order: Order, other: Optional[Order], plain: dict, late: Order | None = None) -> Receipt:  # noqa: UP045
        assert type(order) is Order
        assert other is None
        assert late is None
        assert type(plain) is dict
        return Receipt(text=str(order.id))

    assert fun.apply(({"id": "7"}, None, {})).get() == {"text": "7"}
    assert fun({"id": 7}, None, {}) == {"text": "7"}


def test_what_does_not_validate_fails(app):
    @app.task(pydantic=True)
    def fun(order: Order): ...

    assert isinstance(fun.apply(({"id": "x"},)).result, Exception)
    with pytest.raises(ValidationError):
        fun({"id": "x"})


def test_strict(app):
    @app.task(pydantic=True, pydantic_strict=True)
    def fun(order: Order): ...

    with pytest.raises(ValidationError):
        fun({"id": "7"})


def test_context(app):
    @app.task(pydantic=True, pydantic_context={"by": 3}, bind=True)
    def fun(self, given: Contextual) -> int:
        return given.n

    assert fun.apply(({"n": 2},)).get() == 6


def test_dump_arguments(app):
    @app.task(pydantic=True, pydantic_dump_kwargs={"exclude_none": True})
    def fun(order: Order) -> Order:
        return order

    assert fun({"id": 1}) == {"id": 1}


def test_models_at_the_call(app, sent):
    @app.task(pydantic=True, bind=True)
    def fun(self, order: Order, plain: str = "", *, other: Order | None = None): ...

    fun.delay(Order(id=1), "x", other=Order(id=2, note="n"))
    args, kwargs = sent[0]
    assert list(args) == [{"id": 1, "note": None}, "x"]
    assert kwargs == {"other": {"id": 2, "note": "n"}}
    model = Order(id=1)
    fun.apply_async((model,), serializer="pickle")
    assert sent[1][0] == (model,)


def test_coroutines(app):
    @app.task(pydantic=True)
    async def fun(order: Order) -> Receipt:
        await asyncio.sleep(0)
        return Receipt(text=str(order.id))

    assert fun.apply(({"id": 7},)).get() == {"text": "7"}
