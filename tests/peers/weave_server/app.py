"""The ASGI front: authentication, size limit, faults, the record of requests, and the control plane."""

from __future__ import annotations

import argparse
import asyncio
import base64
import binascii
import collections
import concurrent.futures
import datetime as dt
import json
import pathlib
import socket
import struct
import sys
import time
from typing import Any

from .api import Api, HttpError, dump
from .backends import make_backend
from .faults import Faults
from .journal import Journal

JSON = {"content-type": "application/json"}


class Peer:
    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        folder = pathlib.Path(args.db) if args.db else None
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
        self.backend, self.internal = make_backend(args.backend, folder)
        self.api = Api(args, self.backend, self.internal)
        self.stats = self.api.stats
        self.faults = Faults(args.seed)
        self.faults.set(args.fault)
        self.key = None if args.no_auth else args.api_key
        self.recent: collections.deque[dict[str, Any]] = collections.deque(maxlen=args.keep)
        self.seq = 0
        self.record_dir = pathlib.Path(args.record) if args.record else None
        if self.record_dir:
            self.record_dir.mkdir(parents=True, exist_ok=True)
        workers = 1 if self.backend in ("sqlite", "chdb") else args.threads
        self.pool = concurrent.futures.ThreadPoolExecutor(workers, "peer")
        if self.backend in ("sqlite", "chdb"):
            self.pool.submit(self.internal.setup_tables).result()
        memory = self.backend == "memory"
        self.journal = Journal(str(folder / "journal.sqlite") if folder else None, keep_writes=memory)
        self._replay()

    def _replay(self) -> None:
        for method, path, query, headers, body in self.journal.writes():
            try:
                self.api.dispatch(method, path, query, headers, body, self.args.user)
                self.stats["replayed"] += 1
            except Exception as e:  # keep serving what can be replayed
                print(f"journal: could not replay {method} {path}: {e!r}", file=sys.stderr)

    def _check_key(self, headers: dict[str, str]) -> None:
        """Basic api:KEY, Bearer KEY, or the wandb-api-key header; else 401."""
        if self.key is None:
            return
        got = headers.get("wandb-api-key")
        auth = headers.get("authorization", "")
        scheme, _, rest = auth.partition(" ")
        if got is None and scheme.lower() == "basic":
            try:
                got = base64.b64decode(rest.strip()).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                got = None
        if got is None and scheme.lower() == "bearer":
            got = rest.strip()
        if got is None:
            raise HttpError(401, {"reason": "Not authenticated"}, {"WWW-Authenticate": "Basic"})
        if got != self.key:
            raise HttpError(401, {"reason": "Invalid API key"})

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                event = await receive()
                await send({"type": event["type"] + ".complete"})
                if event["type"] == "lifespan.shutdown":
                    return
        if scope["type"] != "http":
            return
        started = time.perf_counter()
        method, path = scope["method"], scope["path"]
        if path.startswith("/traces/"):  # WANDB_BASE_URL + "/traces" form
            path = path[len("/traces") :]
        query = scope.get("query_string", b"").decode()
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        body = await self._read_body(headers, receive)
        if path == "/health" and method == "GET":
            return await self._send(send, 200, JSON, b'{"status":"ok"}')
        if path.startswith("/__peer__/"):
            return await self._send(send, *self._control(method, path, body or b""))

        self.seq += 1
        seq = self.seq
        size = len(body) if body is not None else self.args.max_body + 1
        fault = self.faults.pick(path, size)
        note = f"{fault['action']}/{fault.get('phase', 'before')}" if fault else ""
        after = fault is not None and fault.get("phase") == "after"
        if fault and not after and fault["action"] != "hang":
            await asyncio.sleep(fault.get("delay", 1.0 if fault["action"] == "slow" else 0.0))
        answer = self._refusal(headers, body)
        if answer is None and (fault is None or fault["action"] == "slow" or after):
            answer = await self._run(method, path, query, headers, body or b"")
        if fault and fault["action"] != "slow":
            if fault["action"] == "hang":
                await asyncio.sleep(fault.get("delay") or 3600)
            if fault["action"] in ("reset", "hang"):
                self._log(seq, method, path, headers, size, body, -1, note, started)
                return self._reset(receive)
            answer = self._injected(fault)
        assert answer is not None
        self._log(seq, method, path, headers, size, body, answer[0], note, started)
        await self._send(send, *answer)

    async def _read_body(self, headers: dict[str, str], receive: Any) -> bytes | None:
        """The body, or None where it is over the limit: by Content-Length first, then by bytes read."""
        limit = self.args.max_body
        length = headers.get("content-length", "0")
        too_big = length.isdigit() and int(length) > limit
        chunks, size = [], 0
        while True:
            event = await receive()
            size += len(event.get("body", b""))
            if size <= limit and not too_big:
                chunks.append(event.get("body", b""))
            if not event.get("more_body"):
                break
        return None if too_big or size > limit else b"".join(chunks)

    def _refusal(self, headers: dict[str, str], body: bytes | None) -> Any:
        try:
            self._check_key(headers)
        except HttpError as e:
            return e.status, {**JSON, **e.headers}, dump(e.body)
        return None if body is not None else (413, JSON, dump({"reason": "Request too large"}))

    async def _run(self, method: str, path: str, query: str, headers: dict[str, str], body: bytes) -> Any:
        loop = asyncio.get_running_loop()
        request = (method, path, query, headers, body)
        answer = await loop.run_in_executor(self.pool, self.api.guarded, *request, self.args.user)
        if answer[0] < 300 and self.api.is_write(method, path):
            await loop.run_in_executor(None, self.journal.note, *request)
        return answer

    @staticmethod
    def _injected(fault: dict[str, Any]) -> Any:
        headers = dict(JSON)
        if "retry_after" in fault:
            headers["retry-after"] = str(fault["retry_after"])
        status = int(fault["action"])
        body = fault["body"].encode() if "body" in fault else dump({"reason": f"injected fault {status}"})
        return status, headers, body

    @staticmethod
    async def _send(send: Any, status: int, headers: dict[str, str], body: bytes) -> None:
        raw = [(k.encode(), v.encode()) for k, v in headers.items()]
        raw.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": body})

    @staticmethod
    def _reset(receive: Any) -> None:
        """Drop the TCP connection with RST (SO_LINGER 0), no HTTP answer."""
        transport = receive.__self__.transport
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    def _log(
        self,
        seq: int,
        method: str,
        path: str,
        headers: dict[str, str],
        size: int,
        body: bytes | None,
        status: int,
        fault: str,
        started: float,
    ) -> None:
        self.stats[f"{method} {path}"] += 1
        self.stats[f"status {status}"] += 1
        secret = ("authorization", "wandb-api-key", "cookie")
        safe = {k: ("<redacted>" if k in secret else v) for k, v in headers.items()}
        entry = {
            "seq": seq,
            "at": dt.datetime.now(dt.UTC).isoformat(),
            "method": method,
            "path": path,
            "bytes": size,
            "status": status,
            "fault": fault or None,
            "ms": round((time.perf_counter() - started) * 1e3, 3),
            "headers": safe,
        }
        self.recent.append(entry)
        if self.record_dir:
            stem = self.record_dir / f"{seq:06d}"
            stem.with_suffix(".body").write_bytes(body or b"")
            stem.with_suffix(".json").write_text(json.dumps(entry, indent=1) + "\n")
        if self.args.verbose:
            print(f"{seq} {method} {path} {size}B -> {status} {fault} {entry['ms']}ms", file=sys.stderr)

    # -- control plane for tests, /__peer__/...; loopback only, not part of Weave
    def _control(self, method: str, path: str, body: bytes) -> Any:
        name = path[len("/__peer__/") :]
        answer: Any = None
        if name == "faults":
            if method in ("POST", "PUT"):
                rules = json.loads(body or b"[]")
                self.faults.set(rules if isinstance(rules, list) else [rules], append=method == "PUT")
            elif method == "DELETE":
                self.faults.set([])
            answer = {"faults": self.faults.view()}
        elif name == "stats":
            answer = {"backend": self.backend, "stats": dict(self.stats), "seq": self.seq}
        elif name == "requests":
            answer = {"requests": list(self.recent)}
        elif name == "accepted":
            answer = {"accepted": self.journal.accepted()}
        elif name == "projects" and method == "POST":
            self.api.projects.configure(json.loads(body))
            answer = {"made": sorted(self.api.projects.made)}
        elif name == "projects":
            answer = {"made": sorted(self.api.projects.made)}
        elif name == "reset" and method == "POST":
            self._reset_all()
            answer = {"ok": True}
        if answer is None:
            return 404, JSON, b'{"detail":"Not Found"}'
        return 200, JSON, dump(answer)

    def _reset_all(self) -> None:
        def wipe() -> None:
            self.internal.drop_tables()
            self.internal.setup_tables()

        self.pool.submit(wipe).result()
        self.journal.clear()
        self.faults.set([])
        self.api.projects.reset()
        self.stats.clear()
        self.recent.clear()
