"""A FastAPI service whose bodies are worth a look; `uvicorn tests.services.exchange:app`."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

GO = "/go"
ZIPPED = gzip.compress(b'{"answer": "' + b"a" * 100 + b'"}')


def make_app() -> FastAPI:
    app = FastAPI()
    going = asyncio.Event()

    @app.post("/echo")
    async def echo(request: Request) -> Response:
        kind = request.headers.get("content-type")
        return Response(await request.body(), media_type=kind)

    @app.post("/form")
    async def form(request: Request) -> dict[str, int]:
        return {"length": len(await request.body())}

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def pieces() -> AsyncIterator[str]:
            yield "data: one\n\n"
            await going.wait()  # until the client has seen the first piece
            yield "data: two\n\n"

        return StreamingResponse(pieces(), media_type="text/event-stream")

    @app.post(GO)
    async def go() -> dict[str, bool]:
        going.set()
        return {"going": True}

    @app.get("/zipped")
    async def zipped() -> Response:
        return Response(ZIPPED, headers={"content-encoding": "gzip"}, media_type="application/json")

    @app.get("/picture")
    async def picture() -> Response:
        return Response(b"\x89PNG", media_type="image/png")

    @app.get("/own")
    async def own() -> Response:
        return Response("own", headers={"x-request-id": "mine"}, media_type="text/plain")

    @app.get("/broken")
    async def broken() -> None:
        raise ValueError("no way")

    return app


app = make_app()
