"""The HTTP of the stand-in: what the client speaks, the faults in between, and `/__peer__/` for tests."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import math
import re
import socket
import struct
import time
import zlib
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from tests.peers.wandb_server.artifacts import Artifacts, Views
from tests.peers.wandb_server.faults import Faults, Rule
from tests.peers.wandb_server.graphql import Runs, answer
from tests.peers.wandb_server.storage import EVENTS, OUTPUT, Refusal, Row, Storage

_OPERATION: Final = re.compile(r"\b(?:query|mutation)\s+([A-Za-z_]\w*)")
_STREAM: Final = re.compile(r"/files/([^/]+)/([^/]+)/([^/]+)/file_stream")
_UPLOAD: Final = re.compile(r"/storage/(run|artifact)/([^/]+)")
_HANG_S: Final = 3600.0


@dataclass(frozen=True)
class Answer:
    status: int
    body: object = None
    note: str = ""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    op: str
    payload: Any
    body: bytes
    base: str


class Backend:
    """What requests mean. Any thread may ask."""

    def __init__(self, storage: Storage, keys: frozenset[str], *, otel_proxy: bool) -> None:
        self.storage = storage
        self.faults = Faults()
        self.keys = keys
        self.otel_proxy = otel_proxy
        self.handlers = (Runs(storage), Artifacts(storage), Views(storage))

    def act(self, request: Request, authorization: str) -> Answer:
        try:
            return self._act(request, authorization)
        except Refusal as refusal:
            errors = {"errors": [{"message": str(refusal)}], "data": None, "error": str(refusal)}
            return Answer(refusal.status, errors, note=str(refusal))
        except Exception as error:  # noqa: BLE001  a mistake here must reach the test, not hang the client
            note = f"mistake of the peer: {type(error).__name__}: {error}"
            return Answer(501, {"errors": [{"message": note}]}, note=note)

    def _act(self, request: Request, authorization: str) -> Answer:
        if found := _UPLOAD.fullmatch(request.path):
            return self._upload(request, *found.groups())
        if request.path.startswith("/sdk/otel/"):
            return Answer(200, b"") if self.otel_proxy else Answer(404, {"error": "no proxy"})
        if request.path == "/graphql" or _STREAM.fullmatch(request.path):
            if _key_in(authorization) not in self.keys:
                raise Refusal("user is not logged in", 401)
            if not isinstance(request.payload, dict):
                raise Refusal("not JSON", 400)
        if request.path == "/graphql":
            variables = request.payload.get("variables") or {}
            return Answer(200, {"data": answer(self.handlers, request.op, variables, request.base)})
        if found := _STREAM.fullmatch(request.path):
            entity, project, run_id = found.groups()
            return Answer(200, self.storage.stream(entity, project, run_id, request.payload))
        raise Refusal(f"no route {request.path}", 404)

    def _upload(self, request: Request, kind: str, token: str) -> Answer:
        table = "files" if kind == "run" else "artifact_files"
        found = self.storage.row(f"SELECT content FROM {table} WHERE token=?", token)
        if found is None:
            raise Refusal("no such upload", 404)
        if request.method not in ("PUT", "POST"):
            return Answer(200, found["content"] or b"")
        sql = f"UPDATE {table} SET size=?, sha256=?, content=?, uploaded=1 WHERE token=?"
        digest = hashlib.sha256(request.body).hexdigest()
        self.storage.run_sql(sql, len(request.body), digest, request.body, token)
        return Answer(200, b"")

    def control(self, name: str, given: Any) -> object:
        """What a test asks or orders; None: there is no such thing."""
        storage = self.storage
        if name == "faults":
            if isinstance(given, list):
                self.faults.set(given)
            return self.faults.view()
        if name == "reset":
            self.faults.set([])
            storage.wipe()
            return {}
        if name in ("requests", "alerts", "views", "conflicts"):
            return storage.rows(f"SELECT * FROM {name} ORDER BY rowid")
        if name == "artifacts":
            artifacts = storage.rows("SELECT * FROM artifacts ORDER BY created_at")
            sql = "SELECT kind,name,size,uploaded FROM artifact_files"
            sql += " WHERE artifact=? AND kind<>'manifest-stub'"
            users = "SELECT run FROM artifact_uses WHERE artifact=? ORDER BY run"
            return [
                made
                | {"files": storage.rows(sql, made["id"])}
                | {"used_by": [use["run"] for use in storage.rows(users, made["id"])]}
                for made in artifacts
            ]
        if name.startswith("client-artifacts/"):
            client_id, _, file = name.removeprefix("client-artifacts/").partition("/")
            sql = "SELECT f.content FROM client_ids c JOIN artifacts a ON a.id=c.artifact"
            sql += " JOIN artifact_files f ON f.artifact=a.id AND f.uploaded=1"
            sql += " WHERE a.state='COMMITTED' AND f.kind='file' AND c.client_id=? AND f.name=?"
            found = storage.row(sql, client_id, file)
            return found and found["content"]
        if name == "runs":
            return [storage.describe(run) for run in storage.rows("SELECT * FROM runs ORDER BY key")]
        run_id, _, what = name.removeprefix("runs/").partition("/")
        run = storage.find_run(run_id) if name.startswith("runs/") else None
        return None if run is None else self._control_run(run, what)

    def _control_run(self, run: Row, what: str) -> object:
        storage, key = self.storage, run["key"]
        if what == "delete":
            storage.delete_run(run)
            return {}
        if what == "stop":
            storage.run_sql("UPDATE runs SET stopped=1 WHERE key=?", key)
            return {}
        if what.startswith("files/"):
            sql = "SELECT content FROM files WHERE run=? AND name=? AND uploaded=1"
            found = storage.row(sql, key, what.removeprefix("files/"))
            return found and found["content"].decode()
        if what == "files":
            return storage.rows("SELECT name,size,uploaded FROM files WHERE run=? ORDER BY id", key)
        if what == "history":
            return [_flatten(json.loads(line)) for line in storage.history_lines(run)]
        if what == "events":
            return [json.loads(line) for line in storage.history_lines(run, EVENTS)]
        if what == "output":
            return storage.history_lines(run, OUTPUT)
        return {"": storage.describe(run), "summary": storage.summary(run)}.get(what)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    backend: Backend

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is the base class's
        pass

    def _handle(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self._read_body()
        if path == "/healthz":
            return self._send(Answer(200, {"ok": True}))
        if path.startswith("/__peer__/"):
            found = self.backend.control(path.removeprefix("/__peer__/"), json.loads(body) if body else None)
            return self._send(Answer(404 if found is None else 200, found))
        try:
            self._handle_client(path, body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = _handle

    def _handle_client(self, path: str, raw: bytes) -> None:
        encoding = self.headers.get("Content-Encoding", "identity")
        body = _decompress(raw, encoding)
        payload = _json_of(body) if path == "/graphql" or path.endswith("/file_stream") else None
        op = _operation_of(payload) if path == "/graphql" else ""
        base = f"http://{self.headers.get('Host') or '127.0.0.1'}"
        request = Request(self.command, path, op, payload, body, base)
        rule = self.backend.faults.pick(path, op, len(body))
        answer = self._act_or_fail(request, rule)
        self._note(request, answer, len(raw), encoding, rule)
        if answer.status:
            return self._send(answer)
        return self._reset()

    def _act_or_fail(self, request: Request, rule: Rule | None) -> Answer:
        """The answer; status 0 stands for none at all."""
        authorization = self.headers.get("Authorization", "")
        if rule is None:
            return self.backend.act(request, authorization)
        time.sleep(rule.delay or (1.0 if rule.action == "slow" else 0.0))
        if rule.action == "slow":
            return self.backend.act(request, authorization)
        if rule.phase == "after":
            self.backend.act(request, authorization)
        if rule.action == "hang":
            time.sleep(0.0 if rule.delay else _HANG_S)
        if rule.action in ("reset", "hang"):
            return Answer(0, note=rule.action)
        headers = {"Retry-After": str(rule.retry_after)} if rule.retry_after >= 0 else {}
        body: object = rule.body or {"error": f"injected fault {rule.action}"}
        return Answer(int(rule.action), body, note="injected", headers=headers)

    def _note(self, request: Request, answer: Answer, size: int, encoding: str, rule: Rule | None) -> None:
        analytics = ("authorization", "x-") if request.path.startswith("/sdk/") else ()
        shown = ("x-wandb", "user-agent", "content-type", *analytics)
        headers = {k.lower(): v for k, v in self.headers.items() if k.lower().startswith(shown)}
        self.backend.storage.run_sql(
            "INSERT INTO requests(at,method,path,op,status,size,encoding,fault,note,headers)"
            " VALUES(?,?,?,?,?,?,?,?,?,?)",
            *(time.time(), request.method, request.path, request.op, answer.status, size, encoding),
            *(rule.text if rule else None, answer.note, json.dumps(headers)),
        )

    def _read_body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0].strip() or b"0", 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def _send(self, answer: Answer) -> None:
        raw, kind = _encode(answer.body)
        self.send_response(answer.status)
        headers = {"Content-Type": kind, **answer.headers, "Content-Length": str(len(raw))}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)

    def _reset(self) -> None:
        """Close with a RST, so that the client sees its connection reset."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.shutdown(socket.SHUT_RD)
        self.connection.close()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], backend: Backend) -> None:
        super().__init__(address, type("BoundHandler", (Handler,), {"backend": backend}))

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that was reset is an ordinary event here."""


def _key_in(authorization: str) -> str:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    try:
        return base64.b64decode(value).decode().partition(":")[2]
    except ValueError:
        return ""


def _decompress(body: bytes, encoding: str) -> bytes:
    if encoding == "gzip":
        return gzip.decompress(body)
    return zlib.decompress(body) if encoding == "deflate" else body


def _json_of(body: bytes) -> Any:
    try:
        return json.loads(body or b"{}")
    except ValueError:
        return None


def _operation_of(payload: Any) -> str:
    if not isinstance(payload, dict):
        return ""
    found = _OPERATION.search(payload.get("query") or "")
    return str(payload.get("operationName") or (found.group(1) if found else ""))


def _encode(body: object) -> tuple[bytes, str]:
    if isinstance(body, bytes):
        return body, "application/octet-stream"
    if isinstance(body, str):
        return body.encode(), "application/json" if body[:1] in "{[" else "text/plain; charset=utf-8"
    return json.dumps(_plain(body)).encode(), "application/json"


def _plain(value: Any) -> Any:
    """NaN and infinities as strings, as W&B's own API returns them."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list) else value


def _flatten(value: Row, prefix: str = "") -> Row:
    """Nested metrics as dotted keys; typed media values stay whole."""
    flat: Row = {}
    for key, entry in value.items():
        if isinstance(entry, dict) and "_type" not in entry:
            flat |= _flatten(entry, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = entry
    return flat
