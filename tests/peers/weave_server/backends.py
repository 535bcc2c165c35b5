"""Storage of the wheel: in memory, SQLite (an older service) or the production ClickHouse one, embedded."""

from __future__ import annotations

import base64
import binascii
import pathlib
import tempfile
from typing import Any


def _wheel_has(module: str) -> bool:
    import weave

    root = pathlib.Path(weave.__file__).parent
    return (root / "trace_server" / f"{module}.py").exists()


class _NullClickHouse:
    """Lets the wheel's AgentWriteHandler run without a ClickHouse."""

    class _Empty:
        result_rows: list = []
        first_row = None
        row_count = 0

    def query(self, *a: Any, **k: Any) -> Any:
        return self._Empty()

    def insert(self, *a: Any, **k: Any) -> None:
        return None


def make_backend(kind: str, folder: pathlib.Path | None) -> tuple[str, Any]:
    if kind == "auto":
        kind = "memory" if _wheel_has("in_memory_trace_server") else "sqlite"
    if kind == "memory":
        from weave.trace_server.in_memory_trace_server import InMemoryTraceServer

        class Memory(InMemoryTraceServer):
            # HTTP-only methods the in-memory class lacks, built from wheel parts.
            def genai_otel_export(self, req: Any, **_: Any) -> Any:
                from weave.trace_server.agents.clickhouse import AgentWriteHandler

                res, rows = AgentWriteHandler(
                    _NullClickHouse(),
                    None,
                    self,  # type: ignore[arg-type]
                ).insert_otel_spans(req)
                for row in rows:
                    self._insert_agent_span(row)
                return res

        return kind, Memory()
    if kind == "sqlite":
        from weave.trace_server.sqlite_trace_server import SqliteTraceServer

        server = SqliteTraceServer(str(folder / "calls.sqlite") if folder else "file::memory:?cache=shared")
        return kind, server
    if kind == "chdb":
        return kind, _make_chdb(folder)
    raise SystemExit(f"unknown backend {kind!r}")


def _make_chdb(folder: pathlib.Path | None) -> Any:
    """The production ClickHouse trace server and its migrations on embedded ClickHouse."""
    import clickhouse_connect
    from weave.trace_server.clickhouse_trace_server_batched import ClickHouseTraceServer

    # A real folder even when nothing is to be kept: ':memory:' does not survive
    # the client that made it, and the engine lives while one client is open.
    tmp = None if folder else tempfile.TemporaryDirectory(prefix="weave_peer_")
    path = str(folder / "clickhouse") if folder else tmp.name

    class Chdb(ClickHouseTraceServer):
        def _mint_client(self, send_receive_timeout: int | None = None) -> Any:
            client = clickhouse_connect.get_client(interface="chdb", path=path)
            self._ensure_database(client)
            client.database = self._database
            return client

        def setup_tables(self) -> None:
            self._run_migrations()

        def drop_tables(self) -> None:
            self.ch_client.command("DROP DATABASE IF EXISTS db_management")
            self.ch_client.command(f"DROP DATABASE IF EXISTS {self._database}")
            self._database_ensured = False
            del self._thread_local.ch_client

    server = Chdb(host="embedded", database="weave_peer", use_async_insert=False)
    server._peer_keep = (tmp, clickhouse_connect.get_client(interface="chdb", path=path))  # type: ignore[attr-defined]
    return server


def make_external(server: Any) -> Any:
    from weave.trace_server.external_to_internal_trace_server_adapter import (
        ExternalTraceServer,
        IdConverter,
    )

    class Ids(IdConverter):
        # base64('ProjectInternalId:<decimal>'), the shape the wheel validates;
        # the decimal is the external name itself, so that it reads back.
        def ext_to_int_project_id(self, project_id: str) -> str:
            number = int.from_bytes(project_id.encode(), "big")
            return base64.b64encode(f"ProjectInternalId:{number}".encode()).decode()

        def int_to_ext_project_id(self, project_id: str) -> str | None:
            try:
                kind, _, number = base64.b64decode(project_id, validate=True).decode().partition(":")
                if kind != "ProjectInternalId":
                    return None
                n = int(number)
                return n.to_bytes((n.bit_length() + 7) // 8, "big").decode()
            except (binascii.Error, UnicodeDecodeError, ValueError):
                return None

        def ext_to_int_run_id(self, run_id: str) -> str:
            parts = run_id.split("/")
            if len(parts) == 1:  # bare id: kept as it is
                return run_id
            if len(parts) != 3:
                raise ValueError(f"Invalid run id {run_id!r}: want entity/project/run")
            return self.ext_to_int_project_id("/".join(parts[:2])) + ":" + parts[2]

        def int_to_ext_run_id(self, run_id: str) -> str:
            if ":" not in run_id:
                return run_id
            project, run = run_id.split(":", 1)
            ext = self.int_to_ext_project_id(project)
            return f"{ext}/{run}" if ext else run_id

        def ext_to_int_user_id(self, user_id: str) -> str:
            return base64.b64encode(user_id.encode()).decode()

        def int_to_ext_user_id(self, user_id: str) -> str:
            try:
                return base64.b64decode(user_id, validate=True).decode()
            except (binascii.Error, UnicodeDecodeError, ValueError):
                return user_id

    return ExternalTraceServer(server, Ids())
