"""A real Weave trace server on loopback HTTP, for tests: see README.md beside this file."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import pathlib
import signal
import socket
import sys
import time

from . import stubs


def arguments(argv: list[str] | None) -> argparse.Namespace:
    p = argparse.ArgumentParser(description="Real Weave trace server (from a weave wheel) on loopback HTTP.")
    p.add_argument("--host", default="127.0.0.1")
    p.add_argument("--port", type=int, default=0, help="0 picks a free one (see the ready line)")
    p.add_argument("--backend", choices=["auto", "memory", "sqlite", "chdb"], default="auto")
    p.add_argument(
        "--db", metavar="DIR", help="keep data and the record of accepted calls here over restarts"
    )
    p.add_argument("--api-key", default=os.environ.get("WEAVE_PEER_API_KEY", "local-dummy-key"))
    p.add_argument("--no-auth", action="store_true")
    p.add_argument("--user", default="peer-user", help="the wb_user_id stamped on writes")
    p.add_argument("--entity", default="peer-entity", help="the viewer's default entity")
    p.add_argument("--max-body", type=int, default=32 * 1024 * 1024, help="bytes; over it: 413")
    p.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="RULE",
        help="'503:rate=0.2,path=calls/complete', '429:retry_after=2,count=3', 'reset:every=5', "
        "'slow:delay=2', '413:over=100000', '500:phase=after,schedule=xx.x' (repeatable)",
    )
    p.add_argument("--seed", type=int, help="seed of the fault dice")
    p.add_argument("--record", metavar="DIR", help="write every request: NNNNNN.json + NNNNNN.body (raw)")
    p.add_argument("--keep", type=int, default=1000, help="requests kept for /__peer__/requests")
    p.add_argument("--threads", type=int, default=8)
    p.add_argument("--strict", action="store_true", help="422 also for read fields newer than the wheel")
    p.add_argument("--real-imports", default="", help="comma list of stubbed modules to import for real")
    p.add_argument("--ready-file", help="write the base URL here once listening")
    p.add_argument("-v", "--verbose", action="store_true")
    return p.parse_args(argv)


def prepare_process(args: argparse.Namespace) -> None:
    os.environ["TZ"] = "UTC"  # the wheel's OTel parser makes naive local datetimes; the service runs in UTC
    time.tzset()
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # no Sentry from the wheel
    os.environ.setdefault("WEAVE_DISABLED", "true")  # the server must not trace itself
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    stubs.install(set(filter(None, args.real_imports.split(","))))
    logging.basicConfig(level=logging.WARNING)


def main(argv: list[str] | None = None) -> None:
    started = time.perf_counter()
    args = arguments(argv)
    prepare_process(args)
    import uvicorn

    from .app import Peer

    peer = Peer(args)
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((args.host, args.port))
    args.port = sock.getsockname()[1]
    config = uvicorn.Config(
        peer, log_level="warning", lifespan="on", access_log=False, timeout_keep_alive=30, backlog=512
    )
    server = uvicorn.Server(config)

    async def serve() -> None:
        task = asyncio.create_task(server.serve(sockets=[sock]))
        while not server.started and not task.done():
            await asyncio.sleep(0.005)
        if server.started:
            announce(args, peer.backend, time.perf_counter() - started)
        await task

    # uvicorn re-raises the signal it stopped on: leave normally, so that the
    # temporary folder of the chdb backend is removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        asyncio.run(serve())
    except KeyboardInterrupt:
        pass


def announce(args: argparse.Namespace, backend: str, took_s: float) -> None:
    import weave

    url = f"http://{args.host}:{args.port}"
    print(
        f"READY {url} backend={backend} weave={weave.__version__} start={took_s:.2f}s pid={os.getpid()}",
        flush=True,
    )
    if args.ready_file:
        tmp = pathlib.Path(args.ready_file + ".tmp")
        tmp.write_text(url + "\n")
        tmp.replace(args.ready_file)


if __name__ == "__main__":
    main()
