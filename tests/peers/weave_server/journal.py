"""What the peer accepted, on disk: the raw writes that rebuild the memory backend, and every complete call.

The storage behind the peer may overwrite a repeated call or merge it away later, so "accepted once" cannot
be read off it. This record can tell: one row for each call of each accepted `calls/complete`, written
before the answer, whether or not the answer then reaches the client.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
import sqlite3
import threading
from collections.abc import Iterator
from typing import Any

_COMPLETE = re.compile(r"^/v2/[^/]+/[^/]+/calls/complete$")
_BATCH = re.compile(r'\s*\{\s*"batch"\s*:\s*\[\s*')
_KEPT_HEADERS = ("content-type", "content-encoding", "project_id")


class Journal:
    def __init__(self, path: str | None, *, keep_writes: bool) -> None:
        self._keep_writes = keep_writes
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path or ":memory:", check_same_thread=False)
        self._db.executescript(
            "pragma journal_mode = wal;"
            "create table if not exists writes (seq integer primary key, at text, method text,"
            " path text, query text, headers text, body blob);"
            "create table if not exists accepted"
            " (seq integer primary key, project text, id text, digest text);"
        )

    def writes(self) -> list[tuple[str, str, str, dict[str, str], bytes]]:
        rows = self._db.execute("select method, path, query, headers, body from writes order by seq")
        return [(m, p, q, json.loads(h), b) for m, p, q, h, b in rows.fetchall()]

    def note(self, method: str, path: str, query: str, headers: dict[str, str], body: bytes) -> None:
        calls = list(calls_in(body)) if _COMPLETE.match(path) else []
        kept = json.dumps({name: headers[name] for name in _KEPT_HEADERS if name in headers})
        now = dt.datetime.now(dt.UTC).isoformat()
        with self._lock, self._db:
            if self._keep_writes:
                self._db.execute(
                    "insert into writes (at, method, path, query, headers, body) values (?,?,?,?,?,?)",
                    (now, method, path, query, kept, body),
                )
            self._db.executemany("insert into accepted (project, id, digest) values (?,?,?)", calls)

    def accepted(self) -> list[list[Any]]:
        with self._lock:
            rows = self._db.execute("select project, id, digest from accepted order by seq")
            return [list(row) for row in rows]

    def clear(self) -> None:
        with self._lock, self._db:
            self._db.execute("delete from writes")
            self._db.execute("delete from accepted")


def calls_in(body: bytes) -> Iterator[tuple[str, str, str]]:
    """Project, id and digest of each call of a batch; the digest is of its very bytes, as they were sent."""
    text = body.decode()
    start = _BATCH.match(text)
    if start is None:
        for call in json.loads(text)["batch"]:
            yield call["project_id"], call["id"], _digest(json.dumps(call, sort_keys=True))
        return
    decoder, at = json.JSONDecoder(), start.end()
    while text[at] != "]":
        call, end = decoder.raw_decode(text, at)
        yield call["project_id"], call["id"], _digest(text[at:end])
        at = end
        while text[at] in ", \t\r\n":
            at += 1


def _digest(call: str) -> str:
    return hashlib.blake2b(call.encode(), digest_size=16).hexdigest()
