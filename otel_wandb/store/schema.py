"""The tables, and how a store of an older version becomes one of this version.

A new version appends one migration; what is written here once is never changed. Each migration is applied in
a transaction of its own and noted in `migrations`.

Keys grow with time, so an insert costs the same at any size: there is no index on what the bridge writes at
full speed. Bodies are apart from what one searches by, so a search reads a thirtieth of the store.
"""

# ruff: noqa: S608  only names of our own tables are put into SQL

from __future__ import annotations

import sqlite3
import time
import uuid
from typing import Final

from otel_wandb import __version__
from otel_wandb.errors import StoreError
from otel_wandb.store.database import PAGE_BYTES, DamageError, Database

APPLICATION_ID: Final = 0x6F747762  # "otwb"

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        "CREATE TABLE meta (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL)",
        # The journal's reading positions, and the ledger.
        "CREATE TABLE marks (segment TEXT NOT NULL PRIMARY KEY, counted INTEGER NOT NULL,"
        " assembled INTEGER NOT NULL)",
        "CREATE TABLE counts (signal TEXT NOT NULL, outcome TEXT NOT NULL, reason TEXT NOT NULL,"
        " n INTEGER NOT NULL, PRIMARY KEY (signal, outcome, reason))",
        "CREATE TABLE waiting (signal TEXT NOT NULL PRIMARY KEY, n INTEGER NOT NULL)",
        "CREATE TABLE folded_fronts (name TEXT NOT NULL PRIMARY KEY)",
        # What keeps repeats out.
        "CREATE TABLE digests (id INTEGER PRIMARY KEY, digest BLOB NOT NULL, event_ns INTEGER NOT NULL)",
        "CREATE TABLE recent (id INTEGER PRIMARY KEY, trace_id TEXT NOT NULL, memory BLOB NOT NULL,"
        " event_ns INTEGER NOT NULL)",
        # The calls. `asked_entity` is what the settings say, `entity` what it turned out to be.
        "CREATE TABLE destinations (id INTEGER PRIMARY KEY, config TEXT NOT NULL, asked_entity TEXT NOT NULL,"
        " project TEXT NOT NULL, entity TEXT NOT NULL, UNIQUE (config, asked_entity, project))",
        "CREATE TABLE calls (id INTEGER PRIMARY KEY, destination INTEGER NOT NULL, trace_id TEXT NOT NULL,"
        " span_id TEXT NOT NULL, started_us INTEGER NOT NULL, run TEXT NOT NULL, step INTEGER)",
        "CREATE TABLE bodies (id INTEGER PRIMARY KEY, crc32c INTEGER NOT NULL, body BLOB NOT NULL)",
        # A destination's calls lie together, so that one which is not taken holds up no other.
        "CREATE TABLE outbox (destination INTEGER NOT NULL, call_id INTEGER NOT NULL, in_flight_since_s REAL,"
        " PRIMARY KEY (destination, call_id)) WITHOUT ROWID",
        "CREATE TABLE dead_letters (call_id INTEGER PRIMARY KEY, status INTEGER NOT NULL,"
        " answer TEXT NOT NULL, reason TEXT NOT NULL)",
        "CREATE TABLE flushes (id INTEGER PRIMARY KEY, token BLOB NOT NULL UNIQUE,"
        " last_call_id INTEGER NOT NULL)",
    ),
    (
        # The charts. A run is found by what names it in W&B; `destination` is the last one that led to it.
        "CREATE TABLE runs (id INTEGER PRIMARY KEY, server TEXT NOT NULL, entity TEXT NOT NULL,"
        " project TEXT NOT NULL, run_id TEXT NOT NULL, destination INTEGER NOT NULL, spec BLOB NOT NULL,"
        " UNIQUE (server, entity, project, run_id))",
        # One row a minute and run: here there is room for indexes.
        "CREATE TABLE rows (id INTEGER PRIMARY KEY, run INTEGER NOT NULL, step INTEGER NOT NULL,"
        " timestamp_s REAL NOT NULL, body BLOB NOT NULL, state TEXT NOT NULL, UNIQUE (run, step))",
        "CREATE INDEX waiting_rows ON rows (run, step) WHERE state = 'waiting'",
        # What the metrics line and the views know, by name.
        "CREATE TABLE states (name TEXT NOT NULL PRIMARY KEY, value BLOB NOT NULL)",
    ),
    (
        # Scores. They are few, so there is room for indexes; `uid` is what Weave calls one.
        "CREATE TABLE feedback (id INTEGER PRIMARY KEY, destination INTEGER NOT NULL,"
        " uid TEXT NOT NULL UNIQUE, trace_id TEXT NOT NULL, span_id TEXT NOT NULL, scored_by TEXT NOT NULL,"
        " body BLOB NOT NULL, after_call_id INTEGER NOT NULL, state TEXT NOT NULL, in_flight_since_s REAL,"
        " status INTEGER NOT NULL DEFAULT 0, answer TEXT NOT NULL DEFAULT '',"
        " reason TEXT NOT NULL DEFAULT '')",
        "CREATE INDEX waiting_feedback ON feedback (destination, id) WHERE state = 'waiting'",
        # Which calls the youngest responses belong to: scores may name their call by the response.
        "CREATE TABLE responses (id INTEGER PRIMARY KEY, response INTEGER NOT NULL, trace_id TEXT NOT NULL,"
        " span_id TEXT NOT NULL, destination INTEGER NOT NULL)",
        "ALTER TABLE flushes ADD COLUMN last_feedback_id INTEGER NOT NULL DEFAULT 0",
    ),
    (
        # Alerts, and what became of each on its routes. There are few: a rule has its cool-down.
        "CREATE TABLE alerts (id INTEGER PRIMARY KEY, destination INTEGER NOT NULL, uid TEXT NOT NULL UNIQUE,"
        " name TEXT NOT NULL, service TEXT NOT NULL, state TEXT NOT NULL, level TEXT NOT NULL,"
        " title TEXT NOT NULL, text TEXT NOT NULL, run TEXT NOT NULL, step INTEGER NOT NULL,"
        " time_s REAL NOT NULL)",
        "CREATE TABLE alert_routes (id INTEGER PRIMARY KEY, alert INTEGER NOT NULL, route TEXT NOT NULL,"
        " state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '', problem TEXT NOT NULL DEFAULT '',"
        " first_attempt_s REAL, body BLOB, UNIQUE (alert, route))",
        "CREATE INDEX waiting_alerts ON alert_routes (id) WHERE state = 'waiting'",
    ),
    (
        # Tables that rows take along, a few an hour and service.
        "CREATE TABLE tables (id INTEGER PRIMARY KEY, run INTEGER NOT NULL, step INTEGER NOT NULL,"
        " name TEXT NOT NULL, body BLOB NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '',"
        " UNIQUE (run, step, name))",
        "CREATE INDEX waiting_tables ON tables (run, step) WHERE state = 'waiting'",
    ),
)

_NOTES: Final = (
    "CREATE TABLE migrations (version INTEGER PRIMARY KEY, package TEXT NOT NULL, applied_s REAL NOT NULL)"
)
_CHECKED_BYTES: Final = 32 << 20
_EDGE_ROWS: Final = 100


def make_schema(connection: sqlite3.Connection) -> None:
    """Lay out an empty database: page size, mark of ownership, all tables."""
    connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute(_NOTES)
    for version, statements in enumerate(MIGRATIONS, 1):
        for statement in statements:
            connection.execute(statement)
        connection.execute("INSERT INTO migrations VALUES (?, ?, ?)", (version, __version__, time.time()))
    connection.execute(f"PRAGMA user_version={len(MIGRATIONS)}")


def make_store(connection: sqlite3.Connection) -> None:
    """Lay out a new store, which has an id of its own."""
    make_schema(connection)
    name_bridge(connection)


def name_bridge(connection: sqlite3.Connection) -> None:
    """Give the store an id, if it has none."""
    connection.execute("INSERT OR IGNORE INTO meta VALUES ('bridge_id', ?)", (uuid.uuid4().hex,))


def migrate(database: Database) -> None:
    """Bring the tables to this version.

    Raises:
        StoreError: a newer otel-wandb wrote the store.
        DamageError: it is no store of ours.
    """
    if database.number("PRAGMA application_id") != APPLICATION_ID:
        raise DamageError(f"{database.path} is a SQLite database, but not a store of otel-wandb")
    found = database.number("PRAGMA user_version")
    if found > len(MIGRATIONS):
        raise StoreError(
            f"{database.path} was written by a newer otel-wandb (its version is {found}, this one knows "
            f"{len(MIGRATIONS)}); upgrade, or use another directory"
        )
    if found != database.number("SELECT max(version) FROM migrations"):
        raise DamageError(f"{database.path} contradicts itself about its version")
    for version in range(found + 1, len(MIGRATIONS) + 1):
        try:
            database.run("BEGIN IMMEDIATE")
            for statement in MIGRATIONS[version - 1]:
                database.run(statement)
            database.run("INSERT INTO migrations VALUES (?, ?, ?)", (version, __version__, time.time()))
            database.run(f"PRAGMA user_version={version}")
            database.run("COMMIT")
        except BaseException:
            database.roll_back()
            raise


def inspect(database: Database) -> None:
    """Raises DamageError where a look that takes a fraction of a second finds damage.

    It looks at the small tables, at both ends of the large ones, and up to 32 MiB at every page. What it does
    not see is found when it is read, and repaired then.
    """
    for table in ("meta", "marks", "counts", "waiting", "folded_fronts", "destinations", "flushes"):
        database.rows(f"SELECT * FROM {table} NOT INDEXED")
    for table in ("calls", "bodies", "digests", "recent", "dead_letters"):
        for order in ("ASC", "DESC"):
            database.rows(f"SELECT * FROM {table} ORDER BY rowid {order} LIMIT {_EDGE_ROWS}")
    database.rows(f"SELECT * FROM outbox ORDER BY destination, call_id LIMIT {_EDGE_ROWS}")
    if not database.number("SELECT count(*) FROM meta WHERE name = 'bridge_id'"):
        raise DamageError(f"{database.path} has lost its name")
    if database.number("PRAGMA page_count") * PAGE_BYTES <= _CHECKED_BYTES:
        findings = database.rows("PRAGMA integrity_check(1)")
        if findings != [("ok",)]:
            raise DamageError(f"{database.path} is damaged ({findings[0][0] if findings else 'no answer'})")
