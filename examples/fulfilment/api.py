"""The shop's web API (ASGI): takes orders, tells how they are doing.

    POST /orders       an order as JSON -> 202 and where to look
    GET  /orders/{id}  its state

Run it with any ASGI server: `uvicorn examples.fulfilment.api:app`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse
from starlette.routing import Route

from . import ledger
from .shop import reserve_stock

if TYPE_CHECKING:
    from starlette.requests import Request


async def place_order(request: Request) -> JSONResponse:
    order = await request.json()
    missing = {"id", "customer", "email", "card", "lines"} - order.keys()
    if missing:
        return JSONResponse({"error": f"missing: {', '.join(sorted(missing))}"}, status_code=422)
    # Placing is idempotent and the task too, so a client that never got our answer may simply post again.
    await run_in_threadpool(ledger.place, order)
    await reserve_stock.adelay(order["id"])
    return JSONResponse({"id": order["id"], "state": f"/orders/{order['id']}"}, status_code=202)


async def show_order(request: Request) -> JSONResponse:
    try:
        order = await run_in_threadpool(ledger.order, request.path_params["id"])
    except LookupError as error:
        return JSONResponse({"error": str(error)}, status_code=404)
    return JSONResponse({"id": order["id"], "state": order["state"], "amount": order["amount"]})


app = Starlette(
    routes=[
        Route("/orders", place_order, methods=["POST"]),
        Route("/orders/{id}", show_order),
    ]
)
