"""A small FastAPI service that knows nothing of us: each answer tells the trace that the request belongs to.

`uvicorn tests.services.web:app`; the environment says the rest.
"""

from __future__ import annotations

import os
import sys

from fastapi import FastAPI
from opentelemetry import trace

app = FastAPI()
tracer = trace.get_tracer("tests.web")


@app.get("/ask/{number}")
async def ask(number: int) -> dict[str, object]:
    with tracer.start_as_current_span("think", attributes={"number": number}) as span:
        context = span.get_span_context()
    return {
        "trace_id": f"{context.trace_id:032x}",
        "pid": os.getpid(),
        "ours": sorted({"wandb", "weave"} & set(sys.modules)),
    }


@app.get("/relay/{number}")
async def relay(number: int) -> dict[str, object]:
    """Ask another such service, at the address BACKEND."""
    import httpx

    async with httpx.AsyncClient(base_url=os.environ["BACKEND"], trust_env=False, timeout=30) as client:
        answer: dict[str, object] = (await client.get(f"/ask/{number}")).raise_for_status().json()
    return answer
