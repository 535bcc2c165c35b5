"""What `otel-wandb status` tells: the ledger, how durable it is, the room left, what the bridge does."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from otel_wandb.alert_report import list_alerts, plain_alert, tell_alert
from otel_wandb.config import Settings
from otel_wandb.datadir import BridgeInfo, DataDir
from otel_wandb.fronts import FrontReport, read_fronts
from otel_wandb.journal import count_unread, measure_journal
from otel_wandb.ledger import Ledger, compose, render
from otel_wandb.metrics.charts import SOURCES_PATTERN
from otel_wandb.metrics.runs import RunKey
from otel_wandb.metrics.sources import ToldSources, list_sources
from otel_wandb.store import Snapshot, Store, StoredAlert
from otel_wandb.view_answers import AnswerBox

_FROZEN_AFTER_S = 60.0
_ALERTS_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Status:
    """One look at a data directory; looking changes nothing."""

    data_dir: str
    ledger: Ledger
    durable: bool
    why_not_durable: str | None
    journal_bytes: int
    minutes_left: float | None
    dead_letters: int
    dead_feedback: int
    bridge_runs: bool
    bridge: BridgeInfo | None
    silent_s: float | None
    fronts: int
    alerts: Sequence[StoredAlert] = ()
    """The last ones."""
    sources: Sequence[ToldSources] = ()
    """From where latency, throughput and errors of each service count."""
    answers: int = 0
    """Answers to alarms of views that wait for the next row."""

    @property
    def bridge_sentence(self) -> str:
        """What the bridge does, and what to do where it does nothing."""
        if not self.bridge_runs or self.bridge is None:
            return "not running; the next front that starts on this directory starts one"
        if self.silent_s is not None and self.silent_s > _FROZEN_AFTER_S:
            pid = self.bridge.pid
            return (
                f"process {pid} has not moved for {self.silent_s:.0f} s; nothing is lost, "
                f"and `kill -9 {pid}` lets a new one start"
            )
        return f"process {self.bridge.pid}, version {self.bridge.version}: {self.bridge.doing or 'starting'}"

    def to_json(self) -> str:
        """The same as one JSON document: a key a signal, and the rest beside them."""
        document: dict[str, object] = dict(self.ledger.to_json())
        document |= {
            "data_dir": self.data_dir,
            "balanced": not self.ledger.imbalance(),
            "durable": self.durable,
            "why_not_durable": self.why_not_durable,
            "journal_bytes": self.journal_bytes,
            "disk_minutes_left": self.minutes_left,
            "dead_letters": self.dead_letters,
            "dead_feedback": self.dead_feedback,
            "fronts": self.fronts,
            "answers_waiting": self.answers,
            "last_alerts": [plain_alert(alert) for alert in self.alerts],
            "sources": [
                {
                    "service": told.series.service,
                    "project": "/".join(filter(None, (told.series.entity, told.series.project))),
                    "run": RunKey(told.series, told.period_ns).date,
                    "counts_from": told.sources,
                }
                for told in self.sources
            ],
            "bridge": {
                "running": self.bridge_runs,
                "pid": self.bridge.pid if self.bridge else None,
                "version": self.bridge.version if self.bridge else None,
                "silent_s": self.silent_s,
                "doing": self.bridge_sentence,
            },
        }
        return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()

    def render(self) -> str:
        """The same for a person."""
        left = "no limit in sight" if self.minutes_left is None else f"{self.minutes_left:.0f} minutes"
        lines = [
            render(self.ledger),
            "",
            f"durable      {'yes' if self.durable else f'no: {self.why_not_durable}'}",
            f"journal      {self.journal_bytes / (1 << 20):.1f} MiB; room for {left} at the present rate",
            f"bridge       {self.bridge_sentence}",
            f"directory    {self.data_dir}",
        ]
        if self.dead_letters:
            lines.append(f"dead letters {self.dead_letters} calls that W&B refused for good")
        if self.dead_feedback:
            lines.append(f"dead letters {self.dead_feedback} scores that W&B refused for good")
        lines += [f"alert        {tell_alert(alert)}" for alert in self.alerts]
        if self.answers:
            lines.append(f"answers      {self.answers} to alarms of views, which wait for the next row")
        lines += [f"counts from  {_tell_sources(told)}" for told in self.sources]
        return "\n".join(lines)


def read_status(data_dir: DataDir, settings: Settings | None = None) -> Status:
    """What a data directory holds and what became of the rest, at this moment."""
    if not data_dir.path.is_dir():
        return _nothing(data_dir)
    why_not = data_dir.writable()
    fronts = read_fronts(data_dir.fronts)
    ledger, dead_letters, dead_feedback, sources = _read_store(data_dir, fronts)
    info = data_dir.read_bridge_info()
    runs = data_dir.locked()
    journal_bytes = measure_journal(data_dir.journal)
    return Status(
        data_dir=str(data_dir.path),
        ledger=ledger,
        durable=why_not is None,
        why_not_durable=why_not,
        journal_bytes=journal_bytes,
        minutes_left=_minutes_left(data_dir, settings or Settings(), journal_bytes, info),
        dead_letters=dead_letters,
        dead_feedback=dead_feedback,
        bridge_runs=runs,
        bridge=info,
        silent_s=max(0.0, time.time() - info.heartbeat_s) if info and runs else None,
        fronts=sum(front.alive for front in fronts),
        alerts=list_alerts(data_dir, last=_ALERTS_SHOWN),
        sources=sources,
        answers=len(AnswerBox(data_dir.answers).read()),
    )


def _nothing(data_dir: DataDir) -> Status:
    return Status(
        data_dir=str(data_dir.path),
        ledger=compose(counts={}, waiting={}, unread={}, outbox=0, fronts={}),
        durable=False,
        why_not_durable="there is no such directory; nothing was ever written here",
        journal_bytes=0,
        minutes_left=None,
        dead_letters=0,
        dead_feedback=0,
        bridge_runs=False,
        bridge=None,
        silent_s=None,
        fronts=0,
    )


def _tell_sources(told: ToldSources) -> str:
    """Such as `spans for HTTP requests, tools; metrics for model calls (rag, run of 2026-11-25)`."""
    by_source = {
        source: [measure for measure, chosen in told.sources.items() if chosen == source]
        for source in ("metrics", "spans")
    }
    said = "; ".join(f"{source} for {', '.join(names)}" for source, names in by_source.items() if names)
    return f"{said} ({told.series.service}, run of {RunKey(told.series, told.period_ns).date})"


def _read_store(
    data_dir: DataDir, fronts: Sequence[FrontReport]
) -> tuple[Ledger, int, int, list[ToldSources]]:
    """The balance, the number of dead letters, of calls and of feedback, and from where services count.

    All but the last are as of one moment of the store.

    What the journal holds beyond that moment counts as received and waiting, so it is read afterwards.
    """
    snapshot = Snapshot(marks={}, counts={}, waiting={}, outbox=0, folded_fronts=frozenset())
    dead_letters = dead_feedback = 0
    sources: list[ToldSources] = []
    if data_dir.store.exists():
        reader = Store.open_for_reading(data_dir.store)
        try:
            snapshot = reader.snapshot()
            dead_letters = sum(1 for _ in reader.dead_letters())
            dead_feedback = sum(1 for _ in reader.feedback.dead_letters())
            sources = list_sources(reader.states(SOURCES_PATTERN).values())
        finally:
            reader.close()
    refused: Counter[tuple[str, str, str]] = Counter()
    for front in fronts:
        if front.name not in snapshot.folded_fronts:
            refused.update(front.counts)
    unread = count_unread(data_dir.journal, {name: mark.counted for name, mark in snapshot.marks.items()})
    ledger = compose(
        counts=snapshot.counts,
        waiting=snapshot.waiting,
        unread={str(signal): n for signal, n in unread.items()},
        outbox=snapshot.outbox,
        fronts=refused,
    )
    return ledger, dead_letters, dead_feedback, sources


def _minutes_left(
    data_dir: DataDir, settings: Settings, journal_bytes: int, info: BridgeInfo | None
) -> float | None:
    """How long appends are taken if nothing is worked off from now on; None while nothing comes in."""
    if info is None or info.read_bytes_per_min <= 0:
        return None
    share = int(settings.journal_disk_share * (data_dir.free_bytes() + journal_bytes))
    return max(0, min(settings.journal_limit_bytes, share) - journal_bytes) / info.read_bytes_per_min
