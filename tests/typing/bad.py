"""Every line marked `# error: CODE` must be an error of that kind, and nothing else: run by test_typing.py."""

from __future__ import annotations

from good import add, app, based, bound, later, named, scale, shared, shared_bound, with_options

add.delay(1, "x")  # error: arg-type
add.delay()  # error: call-arg
add.delay(1, 2, 3)  # error: call-arg
add.delay(1, z=3)  # error: call-arg
add("x")  # error: arg-type
named.delay("x")  # error: arg-type
bound.delay("x")  # error: arg-type
bound.delay(1, 2)  # error: call-arg
shared.delay("text")  # error: arg-type
shared_bound.delay()  # error: call-arg
later.delay("x")  # error: arg-type
scale.delay(1, "x")  # error: arg-type
based.delay("x")  # error: arg-type
with_options.delay(1, flag="yes")  # error: arg-type
with_options.delay(1, True)  # error: call-arg
wrong: str = app.send_many(add, [(1, 2)])[0].get()  # error: assignment
text: str = add.delay(1, 2).get()  # error: assignment
number: int = bound.delay(1).get()  # error: assignment


async def main() -> None:
    await add.adelay(1, "x")  # error: arg-type
    size: int = await (await later.adelay(1)).aget()  # error: assignment
    print(size)
