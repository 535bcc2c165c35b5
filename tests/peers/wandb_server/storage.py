"""Everything the server knows: runs, the lines of their streamed files, and the rest, in SQLite."""

from __future__ import annotations

import base64
import json
import secrets
import sqlite3
import threading
import time
from typing import Any, Final

HISTORY, EVENTS, SUMMARY, OUTPUT = (
    "wandb-history.jsonl",
    "wandb-events.jsonl",
    "wandb-summary.json",
    "output.log",
)

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS runs(
  key INTEGER PRIMARY KEY AUTOINCREMENT,
  storage_id TEXT UNIQUE, entity TEXT, project TEXT, run_id TEXT,
  display_name TEXT, grp TEXT, job_type TEXT, notes TEXT, tags TEXT,
  host TEXT, program TEXT, commit_sha TEXT, repo TEXT, sweep TEXT,
  config TEXT, summary TEXT, created_at REAL, updated_at REAL, heartbeat_at REAL,
  complete INTEGER DEFAULT 0, exit_code INTEGER,
  stopped INTEGER DEFAULT 0, upserts INTEGER DEFAULT 0, requests INTEGER DEFAULT 0,
  UNIQUE(entity, project, run_id));
CREATE TABLE IF NOT EXISTS deleted(entity TEXT, project TEXT, run_id TEXT, UNIQUE(entity, project, run_id));
CREATE TABLE IF NOT EXISTS lines(
  seq INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER, file TEXT, line_no INTEGER, content TEXT,
  received_at REAL, UNIQUE(run, file, line_no));
CREATE TABLE IF NOT EXISTS conflicts(run_id TEXT, line_no INTEGER, before TEXT, after TEXT);
CREATE TABLE IF NOT EXISTS alerts(
  id INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER, run_id TEXT, entity TEXT, project TEXT,
  title TEXT, text TEXT, severity TEXT, wait_ms INTEGER, received_at REAL, delivered INTEGER);
CREATE TABLE IF NOT EXISTS files(
  id INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER, name TEXT, token TEXT UNIQUE,
  size INTEGER, sha256 TEXT, content BLOB, uploaded INTEGER DEFAULT 0, announced INTEGER DEFAULT 0,
  created_at REAL, UNIQUE(run, name));
CREATE TABLE IF NOT EXISTS artifacts(
  id TEXT PRIMARY KEY, run_id TEXT, entity TEXT, project TEXT, type TEXT, name TEXT,
  client_id TEXT, sequence_client_id TEXT, digest TEXT, state TEXT, version INTEGER,
  aliases TEXT, metadata TEXT, description TEXT, created_at REAL);
CREATE TABLE IF NOT EXISTS artifact_uses(run TEXT, artifact TEXT, UNIQUE(run, artifact));
CREATE TABLE IF NOT EXISTS client_ids(client_id TEXT PRIMARY KEY, artifact TEXT);
CREATE TABLE IF NOT EXISTS artifact_files(
  token TEXT PRIMARY KEY, artifact TEXT, kind TEXT, name TEXT, md5 TEXT, manifest_id TEXT,
  manifest_type TEXT, size INTEGER, sha256 TEXT, content BLOB, uploaded INTEGER DEFAULT 0);
CREATE TABLE IF NOT EXISTS views(
  id TEXT PRIMARY KEY, entity TEXT, project TEXT, type TEXT, name TEXT, display_name TEXT, spec TEXT,
  updated_at REAL);
CREATE TABLE IF NOT EXISTS projects(entity TEXT, name TEXT, UNIQUE(entity, name));
CREATE TABLE IF NOT EXISTS requests(
  id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL, method TEXT, path TEXT, op TEXT, status INTEGER,
  size INTEGER, encoding TEXT, fault TEXT, note TEXT, headers TEXT);
"""
_TABLES: Final = (
    "runs",
    "deleted",
    "lines",
    "conflicts",
    "alerts",
    "files",
    "artifacts",
    "artifact_uses",
    "client_ids",
    "artifact_files",
    "views",
    "projects",
    "requests",
)
_UPSERTED: Final = {
    "displayName": "display_name",
    "groupName": "grp",
    "jobType": "job_type",
    "notes": "notes",
    "host": "host",
    "program": "program",
    "commit": "commit_sha",
    "repo": "repo",
    "sweep": "sweep",
    "config": "config",
    "summaryMetrics": "summary",
}
_SHOWN: Final = (
    *("entity", "project", "display_name", "job_type", "notes", "host", "program"),
    *("exit_code", "created_at", "heartbeat_at", "upserts", "requests"),
)

Row = dict[str, Any]


class Refusal(Exception):
    """An answer that is an error: a status, and words."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Storage:
    """One SQLite connection behind one lock. Any thread may use it."""

    def __init__(self, path: str, *, entity: str, crash_after_s: float) -> None:
        self.lock = threading.RLock()
        self.entity = entity
        self.crash_after_s = crash_after_s
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.executescript(_SCHEMA)

    def rows(self, sql: str, *parameters: object) -> list[Row]:
        with self.lock:
            cursor = self._db.execute(sql, parameters)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def row(self, sql: str, *parameters: object) -> Row | None:
        found = self.rows(sql, *parameters)
        return found[0] if found else None

    def run_sql(self, sql: str, *parameters: object) -> None:
        with self.lock:
            self._db.execute(sql, parameters)

    def wipe(self) -> None:
        with self.lock:
            for table in _TABLES:
                self._db.execute(f"DELETE FROM {table}")

    def find_run(self, run_id: str, entity: str | None = None, project: str | None = None) -> Row | None:
        sql = "SELECT * FROM runs WHERE run_id=? AND entity=ifnull(?,entity) AND project=ifnull(?,project)"
        return self.row(sql + " ORDER BY key DESC", run_id, entity or None, project or None)

    def count_lines(self, run_key: int, file: str) -> int:
        found = self.row("SELECT COUNT(*) n FROM lines WHERE run=? AND file=?", run_key, file)
        return int(found["n"]) if found else 0

    def last_line(self, run_key: int, file: str) -> str | None:
        sql = "SELECT content FROM lines WHERE run=? AND file=? ORDER BY line_no DESC LIMIT 1"
        found = self.row(sql, run_key, file)
        return str(found["content"]) if found else None

    def upsert(self, given: Row) -> tuple[Row, bool]:
        """The run of an `UpsertBucket`, and whether it is new. A deleted one never comes back."""
        now_s = time.time()
        entity, project = given.get("entity") or self.entity, given.get("project") or "uncategorized"
        with self.lock:
            run = self.row("SELECT * FROM runs WHERE storage_id=?", given["id"]) if given.get("id") else None
            if run is None and given.get("name"):
                run = self.find_run(given["name"], entity, project)
            inserted = run is None
            if run is None:
                run = self._insert_run(given, entity, project, now_s)
            for name, column in _UPSERTED.items():
                if given.get(name) is not None:
                    self.run_sql(f"UPDATE runs SET {column}=? WHERE key=?", given[name], run["key"])
            if given.get("tags") is not None:
                self.run_sql("UPDATE runs SET tags=? WHERE key=?", json.dumps(given["tags"]), run["key"])
            sql = "UPDATE runs SET updated_at=?, heartbeat_at=?, upserts=upserts+1 WHERE key=?"
            self.run_sql(sql, now_s, now_s, run["key"])
            return self.find_run(run["run_id"], entity, project) or run, inserted

    def _insert_run(self, given: Row, entity: str, project: str, now_s: float) -> Row:
        run_id = given.get("name") or secrets.token_hex(4)
        sql = "SELECT 1 FROM deleted WHERE entity=? AND project=? AND run_id=?"
        if self.row(sql, entity, project, run_id):
            raise Refusal(
                f"run {project}/{run_id} was previously created and deleted; try a new run name", 409
            )
        storage_id = base64.b64encode(f"Run:v1:{run_id}:{project}:{entity}".encode()).decode()
        self.run_sql(
            "INSERT INTO runs(storage_id,entity,project,run_id,display_name,created_at,heartbeat_at)"
            " VALUES(?,?,?,?,?,?,?)",
            *(storage_id, entity, project, run_id, f"peer-{run_id}", now_s, now_s),
        )
        run = self.find_run(run_id, entity, project)
        assert run is not None
        return run

    def delete_run(self, run: Row) -> None:
        with self.lock:
            named = (run["entity"], run["project"], run["run_id"])
            self.run_sql("INSERT OR IGNORE INTO deleted VALUES(?,?,?)", *named)
            self.run_sql("DELETE FROM runs WHERE key=?", run["key"])

    def stream(self, entity: str, project: str, run_id: str, body: Row) -> Row:
        """Take a `file_stream` request: all of it, or nothing."""
        with self.lock:
            run = self.find_run(run_id, entity, project)
            if run is None:
                raise Refusal(f"run {entity}/{project}/{run_id} not found", 404)
            self.run_sql("BEGIN")
            try:
                self._stream(run, body)
                self.run_sql("COMMIT")
            except BaseException:
                self.run_sql("ROLLBACK")
                raise
            return {"exitcode": None, "limits": {}, "stopped": bool(run["stopped"])}

    def _stream(self, run: Row, body: Row) -> None:
        key, now_s = run["key"], time.time()
        for name, chunk in (body.get("files") or {}).items():
            offset = int(chunk.get("offset", 0))
            for number, line in enumerate(chunk.get("content") or [], offset):
                self._put_line(run, name, number, line, now_s)
        for name in body.get("uploaded") or []:
            self.run_sql(
                "INSERT INTO files(run,name,token,announced,created_at) VALUES(?,?,?,1,?)"
                " ON CONFLICT(run,name) DO UPDATE SET announced=1",
                *(key, name, secrets.token_urlsafe(16), now_s),
            )
        self.run_sql("UPDATE runs SET heartbeat_at=?, requests=requests+1 WHERE key=?", now_s, key)
        if body.get("complete"):
            self.run_sql("UPDATE runs SET complete=1, exit_code=? WHERE key=?", body.get("exitcode"), key)
        elif body.get("files"):
            self.run_sql("UPDATE runs SET complete=0, exit_code=NULL WHERE key=?", key)

    def _put_line(self, run: Row, file: str, number: int, line: str, now_s: float) -> None:
        """A line that is there is overwritten in place, so that a repeated request changes nothing."""
        sql = "SELECT content FROM lines WHERE run=? AND file=? AND line_no=?"
        before = self.row(sql, run["key"], file, number) if file == HISTORY else None
        if before and json.loads(before["content"]).get("_step") != json.loads(line).get("_step"):
            conflict = (run["run_id"], number, before["content"], line)
            self.run_sql("INSERT INTO conflicts VALUES(?,?,?,?)", *conflict)
        self.run_sql(
            "INSERT INTO lines(run,file,line_no,content,received_at) VALUES(?,?,?,?,?)"
            " ON CONFLICT(run,file,line_no) DO UPDATE SET content=excluded.content,"
            " received_at=excluded.received_at",
            *(run["key"], file, number, line, now_s),
        )

    def state_of(self, run: Row) -> str:
        if run["complete"]:
            return "failed" if run["exit_code"] else "finished"
        return "crashed" if time.time() - (run["heartbeat_at"] or 0) > self.crash_after_s else "running"

    def history_lines(self, run: Row, file: str = HISTORY) -> list[str]:
        sql = "SELECT content FROM lines WHERE run=? AND file=? ORDER BY line_no"
        return [line["content"] for line in self.rows(sql, run["key"], file)]

    def summary(self, run: Row) -> Row:
        merged: Row = json.loads(run["summary"]) if run["summary"] else {}
        for line in self.history_lines(run, SUMMARY):
            merged.update(json.loads(line))
        return merged

    def describe(self, run: Row) -> Row:
        config = json.loads(run["config"]) if run["config"] else {}
        return {name: run[name] for name in _SHOWN} | {
            "id": run["run_id"],
            "group": run["grp"],
            "tags": json.loads(run["tags"] or "[]"),
            "state": self.state_of(run),
            "stopped": bool(run["stopped"]),
            "history_lines": self.count_lines(run["key"], HISTORY),
            "event_lines": self.count_lines(run["key"], EVENTS),
            "config": {
                name: entry.get("value") if isinstance(entry, dict) and "value" in entry else entry
                for name, entry in config.items()
                if name != "_wandb"
            },
            "metric_definitions": config.get("_wandb", {}).get("value", {}).get("m", []),
        }
