"""A stand-in for a W&B backend on loopback HTTP, for tests: see README.md beside this file."""

from __future__ import annotations

import argparse
import os
import signal
import sys

from tests.peers.wandb_server.app import Backend, Server
from tests.peers.wandb_server.storage import Storage


def main() -> None:
    p = argparse.ArgumentParser(prog="tests.peers.wandb_server", description=__doc__)
    p.add_argument("--host", default="127.0.0.1")
    p.add_argument("--port", type=int, default=0, help="0 picks a free one (see the ready line)")
    p.add_argument("--db", default=":memory:", help="keep everything in this SQLite file over restarts")
    p.add_argument("--api-key", action="append", required=True, help="an accepted key (repeatable)")
    p.add_argument("--entity", default="peer-entity", help="the viewer's default entity")
    p.add_argument("--crash-after", type=float, default=300.0, help="seconds without a heartbeat")
    p.add_argument("--otel-proxy", action="store_true", help="take the client's own analytics, too")
    args = p.parse_args()
    storage = Storage(args.db, entity=args.entity, crash_after_s=args.crash_after)
    server = Server(
        (args.host, args.port), Backend(storage, frozenset(args.api_key), otel_proxy=args.otel_proxy)
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    host, port = server.server_address[:2]
    print(f"READY http://{host!s}:{port} pid={os.getpid()}", flush=True)
    server.serve_forever(poll_interval=0.1)


if __name__ == "__main__":
    main()
