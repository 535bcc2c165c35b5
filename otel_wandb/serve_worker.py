"""One process of the server: `python -m otel_wandb.serve_worker`, started by `otel_wandb.serve`.

It has a segment of the journal of its own, counters of its own, and both protocols in one event loop. It ends
when it is told to (SIGTERM) or when its parent is gone (the end of its standard input): then it accepts no
more, answers what is on its way, and closes its segment.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc

from otel_wandb.config import Settings
from otel_wandb.datadir import DataDir
from otel_wandb.errors import OtelWandbError
from otel_wandb.fronts import FrontCounters
from otel_wandb.ingest.grpc_engine import GrpcLimits, GrpcServer
from otel_wandb.ingest.http_answers import Site
from otel_wandb.ingest.http_engine import HttpLimits, HttpServer
from otel_wandb.ingest.server import Receiver
from otel_wandb.ingest.tallies import Tally
from otel_wandb.ingest.tokens import Tokens
from otel_wandb.journal import Codec, JournalWriter, Kind, Signal, measure_journal
from otel_wandb.serve_plan import Address, RequestRoom, TlsFiles, read_tls

_log = logging.getLogger("otel_wandb.serve")

_SLOW_THREADS = 2


class JournalDesk:
    """The desk of one process: its segment of the journal, and its counters. Thread-safe."""

    def __init__(self, data_dir: DataDir, settings: Settings, *, digest: str) -> None:
        writer_id = f"{os.getpid():x}x{os.urandom(6).hex()}"
        self.slow = settings.fsync == "always"
        self._digest = digest
        self._journal = JournalWriter(
            data_dir.journal,
            writer_id=writer_id,
            fsync=settings.fsync,
            fsync_interval_s=settings.fsync_interval_s,
            segment_bytes=RequestRoom.plan(settings).segment_bytes,
            limit_bytes=settings.journal_limit_bytes,
            limit_disk_share=settings.journal_disk_share,
        )
        self._counters = FrontCounters(data_dir.fronts, writer_id=writer_id)

    def append(self, payload: bytes, *, kind: Kind, items: int, codec: Codec) -> None:
        """Return when the request is acknowledged, as durably as the settings say."""
        self._journal.append(payload, kind=kind, items=items, config=self._digest, codec=codec)

    def reject(self, signal: Signal, items: int, *, reason: str) -> None:
        """Count what never came to the journal, and never can."""
        self._counters.add(signal, "rejected", reason, items)

    def close(self) -> None:
        """Let the segment go: the bridge takes it for final."""
        self._journal.close()
        self._counters.close()


@dataclass(frozen=True, slots=True)
class _Given:
    """What the parent gives to a worker."""

    data_dir: DataDir
    digest: str
    part: int
    tally_fd: int
    http_fd: int
    grpc: Address


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 when it was told to end, 1 where it cannot begin."""
    given = _read_arguments(arguments)
    document = given.data_dir.read_config(given.digest)
    settings = Settings.from_json(document) if document is not None else Settings()
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which tells us
    try:
        desk = JournalDesk(given.data_dir, settings, digest=given.digest)
        try:
            run_loop(_serve(given, settings, desk))
        finally:
            desk.close()
    except (OSError, OtelWandbError) as error:
        _log.error("The server cannot begin: %s.", error)
        return 1
    return 0


def _read_arguments(arguments: Sequence[str] | None) -> _Given:
    parser = argparse.ArgumentParser(prog="otel_wandb.serve_worker", description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--settings", required=True, help="digest of the settings document in DIR/config")
    parser.add_argument("--part", type=int, required=True, help="which part of the counters is its own")
    parser.add_argument("--tally-fd", type=int, required=True)
    parser.add_argument("--http-fd", type=int, required=True, help="a socket that listens")
    parser.add_argument("--grpc", required=True, help="HOST:PORT, shared by all workers")
    options = parser.parse_args(arguments)
    return _Given(
        DataDir(options.data_dir),
        options.settings,
        options.part,
        options.tally_fd,
        options.http_fd,
        Address.parse(options.grpc, "--grpc"),
    )


def run_loop(work: Coroutine[object, object, None]) -> None:
    """Run the work to its end, in the faster event loop where that is installed."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)


async def _serve(given: _Given, settings: Settings, desk: JournalDesk) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    loop.add_reader(0, stopped.set)  # nobody writes there: it becomes readable when the parent is gone
    tokens = Tokens(os.environ, Path(settings.serve_tokens_file) if settings.serve_tokens_file else None)
    tls = read_tls(settings)
    tally = Tally(given.tally_fd, given.part)
    room_bytes = RequestRoom.plan(settings).request_bytes
    receiver = Receiver(desk, max_bytes=settings.serve_max_request_bytes, room_bytes=room_bytes)
    site = Site(receiver, tokens, show_metrics=lambda: tally.render(_describe(given.data_dir)))
    with ThreadPoolExecutor(_SLOW_THREADS, thread_name_prefix="otel-wandb-serve") as pool:
        http = HttpServer(site, tally, _http_limits(settings), pool)
        rpc = GrpcServer(receiver, tokens, tally, _grpc_limits(settings), pool)
        port = await rpc.start(str(given.grpc), _credentials(tls))
        listening = socket.socket(fileno=given.http_fd)
        listening.setblocking(False)
        await http.start(listening, tls.context if tls else None)
        sys.stdout.write(f"READY grpc={given.grpc.with_port(port)}\n")
        sys.stdout.flush()
        await stopped.wait()
        loop.remove_reader(0)
        timeout_s = settings.serve_stop_timeout_s
        await asyncio.gather(http.stop(timeout_s), rpc.stop(timeout_s))
    tally.close()


def _http_limits(settings: Settings) -> HttpLimits:
    return HttpLimits(
        max_connections=settings.serve_max_connections,
        max_buffered_bytes=settings.serve_max_buffered_bytes,
        head_timeout_s=settings.serve_head_timeout_s,
        body_timeout_s=settings.serve_body_timeout_s,
        idle_timeout_s=settings.serve_idle_timeout_s,
    )


def _grpc_limits(settings: Settings) -> GrpcLimits:
    return GrpcLimits(
        max_requests=settings.serve_max_grpc_requests,
        head_timeout_s=settings.serve_head_timeout_s,
        body_timeout_s=settings.serve_body_timeout_s,
    )


def _credentials(tls: TlsFiles | None) -> grpc.ServerCredentials | None:
    if tls is None:
        return None
    ca = tls.client_ca or None
    return grpc.ssl_server_credentials(
        [(tls.key, tls.cert)], root_certificates=ca, require_client_auth=ca is not None
    )


def _describe(data_dir: DataDir) -> list[str]:
    """What `/metrics` says of the directory, beside the counters of the server."""
    lines = []
    with contextlib.suppress(OSError):
        lines += [
            "# HELP otel_wandb_journal_bytes What is acknowledged and not yet finished.",
            "# TYPE otel_wandb_journal_bytes gauge",
            f"otel_wandb_journal_bytes {measure_journal(data_dir.journal)}",
            "# HELP otel_wandb_bridge_up Whether a bridge works on what was acknowledged.",
            "# TYPE otel_wandb_bridge_up gauge",
            f"otel_wandb_bridge_up {int(data_dir.locked())}",
        ]
    return lines


if __name__ == "__main__":
    sys.exit(main())
