"""A FastAPI service without a line about telemetry; it notes how long each request took, for the tests."""

from __future__ import annotations

import os
import time
from pathlib import Path

from fastapi import FastAPI, HTTPException
from starlette.types import Receive, Scope, Send

service = FastAPI()
_notes = Path(os.environ["DURATIONS"]).open("a", buffering=1)  # noqa: SIM115  open for the life of the worker


@service.get("/sleep/{ms}")
def sleep(ms: int) -> dict[str, int]:
    time.sleep(ms / 1000)
    if ms % 10 == 7:
        raise HTTPException(503, "busy")
    return {"slept_ms": ms}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """The service, measured from outside of all that instruments it."""
    started_s = time.perf_counter()
    try:
        await service(scope, receive, send)
    finally:
        if scope["type"] == "http" and scope["path"].startswith("/sleep"):
            _notes.write(f"{os.getpid()} {(time.perf_counter() - started_s) * 1000!r}\n")
