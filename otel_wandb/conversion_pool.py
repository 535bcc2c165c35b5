"""Processes that convert traces beside the bridge's own, which reads, remembers and stores meanwhile.

Traces go there as MessagePack, each scope and resource once; what comes back is pickled: it is of our own
making, through pipes of our own processes. A process that dies costs nothing: what it had is converted in
the bridge, and another one is started. They end with the bridge, however that ends.
"""

from __future__ import annotations

import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Final, Generic, NamedTuple, TypeVar

import msgspec

from otel_wandb.boundary import Boundaries
from otel_wandb.config import Settings
from otel_wandb.conversion import Conversion
from otel_wandb.conversion_line import Apart, Counts, Reply
from otel_wandb.datadir import DataDir
from otel_wandb.dialects import load_dialects
from otel_wandb.metrics.pricing import PriceLists
from otel_wandb.records import LogRecord, Resource, Scope, Span
from otel_wandb.redaction import Redactor
from otel_wandb.stored_settings import StoredSettings
from otel_wandb.traces.finished import Earlier, FinishedTrace, Placed

_log = logging.getLogger("otel_wandb.bridge")

_MAX_DEATHS: Final = 3
_T = TypeVar("_T")


class _PackedTrace(msgspec.Struct, array_like=True, gc=False):
    trace_id: str
    reason: str
    complete: bool
    memory: dict[str, Earlier]
    spans: list[tuple[Span, int, int, int, tuple[LogRecord, ...]]]
    """Each with the places of its scope, resource and configuration."""


class _Parcel(msgspec.Struct, array_like=True, gc=False):
    scopes: list[Scope]
    resources: list[Resource]
    configs: list[str]
    traces: list[_PackedTrace]


class _Places(Generic[_T]):
    """Things in the order in which they first came, told apart by identity."""

    def __init__(self) -> None:
        self.things: list[_T] = []
        self._places: dict[int, int] = {}

    def find(self, thing: _T) -> int:
        """The place of the thing, which is put at the end if it is new."""
        place = self._places.get(id(thing))
        if place is None:
            place = self._places[id(thing)] = len(self.things)
            self.things.append(thing)
        return place


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Parcel).decode


def pack_traces(traces: Sequence[FinishedTrace]) -> bytes:
    """The traces as bytes. Raises where MessagePack cannot hold a value, such as half a surrogate pair."""
    scopes, resources, configs = _Places[Scope](), _Places[Resource](), _Places[str]()
    packed = []
    for trace in traces:
        spans = [
            (p.span, scopes.find(p.scope), resources.find(p.resource), configs.find(p.config), p.logs)
            for p in trace.spans
        ]
        packed.append(_PackedTrace(trace.trace_id, trace.reason, trace.complete, dict(trace.memory), spans))
    return _encode(_Parcel(scopes.things, resources.things, configs.things, packed))


def unpack_traces(parcel: bytes) -> list[FinishedTrace]:
    """The traces that were packed; spans that shared a scope or a resource do so again."""
    unpacked = _decode(parcel)
    scopes, resources, configs = unpacked.scopes, unpacked.resources, unpacked.configs
    return [
        FinishedTrace(
            trace.trace_id,
            tuple(
                Placed(span, scopes[scope], resources[resource], configs[config], logs)
                for span, scope, resource, config, logs in trace.spans
            ),
            trace.reason,
            trace.complete,
            trace.memory,
        )
        for trace in unpacked.traces
    ]


class _Sent(NamedTuple):
    apart: list[Apart]
    logged: list[tuple[int, str, str]]
    """Level, logger and message of what the process would have logged."""


class ConversionPool:
    """So many processes for one data directory. Not thread-safe.

    A process holds some 90 MB and starts with the first traces that come. Where processes die again and
    again before they answer, no more are started.
    """

    def __init__(self, data_dir: DataDir, settings: Settings, processes: int) -> None:
        self._make: Callable[[], ProcessPoolExecutor] = lambda: ProcessPoolExecutor(
            processes,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_prepare,
            initargs=(str(data_dir.path), settings.to_json()),
        )
        self._executor: ProcessPoolExecutor | None = self._make()
        self._deaths = 0

    def hand_out(self, traces: Sequence[FinishedTrace]) -> Reply | None:
        """Begin to convert the traces; None if they cannot be sent. It costs some 5 us a span."""
        executor = self._executor
        if executor is None:
            return None
        try:
            parcel = pack_traces(traces)
        except (UnicodeError, TypeError, ValueError, OverflowError, RecursionError):
            return None
        try:
            future = executor.submit(_convert, parcel)
        except BrokenProcessPool:
            self._bury(executor)
            return None
        return lambda: self._wait(executor, future)

    def close(self) -> None:
        """End the processes; what they have is given up."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)

    def _wait(self, executor: ProcessPoolExecutor, future: Future[_Sent]) -> list[Apart] | None:
        try:
            apart, logged = future.result()
        except BrokenProcessPool:
            self._bury(executor)
            return None
        except Exception:  # noqa: BLE001  whatever it was, the traces are still here
            _log.exception("Traces could not be converted beside the bridge; it is done here.")
            return None
        self._deaths = 0
        for level, name, message in logged:
            logging.getLogger(name).log(level, "%s", message)
        return apart

    def _bury(self, executor: ProcessPoolExecutor) -> None:
        if executor is not self._executor:
            return  # another reply told of it
        self._deaths += 1
        if self._deaths < _MAX_DEATHS:
            _log.warning("A process that converts traces has died; what it had is converted by the bridge.")
            self._executor = self._make()
        else:
            _log.error(
                "Processes that convert traces died %d times without an answer; the bridge does it alone.",
                self._deaths,
            )
            self._executor = None


class _Listener(logging.Handler):
    """Keeps what is logged here for the bridge, which has the file."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[tuple[int, str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append((record.levelno, record.name, self.format(record)))


class _Worker:
    """What a process converts with."""

    def __init__(self, directory: str, document: bytes) -> None:
        settings_of = StoredSettings(DataDir(Path(directory)), Settings.from_json(document)).find
        self.boundaries = Boundaries(settings_of, Redactor())
        self.conversion = Conversion(
            settings_of=settings_of,
            boundaries=self.boundaries,
            price_lists=PriceLists(),
            reader=load_dialects().reader,
        )
        self.listener = _Listener()
        logging.getLogger("otel_wandb").addHandler(self.listener)

    def answer(self, parcel: bytes) -> _Sent:
        """What becomes of the traces, with all calls finished."""
        apart = [self._convert(trace) for trace in unpack_traces(parcel)]
        logged, self.listener.records = self.listener.records, []
        return _Sent(apart, logged)

    def _convert(self, trace: FinishedTrace) -> Apart:
        converted, lookups = self.conversion.convert_apart(trace)
        of_calls: dict[str, Counts] = {}
        if converted is not None:
            bodies = {}
            for note in converted.notes:
                bodies[note.span_id] = converted.body_of(note.span_id)
                if self.conversion.counts:
                    of_calls[note.span_id] = self.conversion.counts.copy()
                    self.conversion.counts.clear()
            converted.body_of = bodies.get
        return Apart(converted, lookups, self.boundaries.take_counts(), of_calls)


_worker: _Worker


def _prepare(directory: str, document: bytes) -> None:
    global _worker  # noqa: PLW0603  a process of a pool has no other place for what it keeps
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the bridge says when it ends
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker = _Worker(directory, document)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(0)


def _convert(parcel: bytes) -> _Sent:
    return _worker.answer(parcel)
