"""What the SDK's exporters of all signals have in common: their hold on the front of the process."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from otel_wandb.config import Settings, resolve
from otel_wandb.datadir import DataDir
from otel_wandb.front import Front, open_front, release_front
from otel_wandb.ingest.packing import encode_cleaned
from otel_wandb.journal import Kind

T = TypeVar("T")

_open: weakref.WeakSet[Outlet] = weakref.WeakSet()


def has_outlet(kind: Kind) -> bool:
    """Whether an exporter of this process takes such items already."""
    return any(outlet._kind is kind for outlet in list(_open))


class Outlet:
    """An exporter's hold on the front of its process: encode, append, flush, let go. Never raises."""

    def __init__(self, kind: Kind, config_file: str | Path | None, settings: dict[str, object]) -> None:
        self._kind = kind
        resolved = resolve(settings, file=Path(config_file) if config_file else None)
        self._settings = resolved.settings
        self._front: Front | None = open_front(self._settings, DataDir(Path(self._settings.data_dir)))
        _open.add(self)

    @property
    def settings(self) -> Settings:
        """The settings that hold for this exporter."""
        return self._settings

    def append(
        self,
        items: Sequence[T],
        encode_all: Callable[[Sequence[T]], bytes],
        batch_of: Callable[[T], object],
        count: Callable[[T], int] = lambda _: 1,
    ) -> bool:
        """True once all that can be encoded is in the journal. What cannot be is counted."""
        front = self._front
        if front is None:
            return False
        number = sum(map(count, items))
        try:
            payload = encode_all(items)
        except Exception:  # noqa: BLE001  never into the service: what cannot be encoded as it is, is cleaned
            payload, kept = encode_cleaned(items, batch_of)
            lost = number if kept == 0 else len(items) - kept
            if lost:
                why = "it holds what no encoding has (was it made by the SDK?)"
                front.refuse(self._kind.signal, lost, reason="unencodable", why=why)
                number -= lost
        return front.append(payload, kind=self._kind, items=number)

    def flush(self, timeout_s: float) -> bool:
        """True only when all that was acknowledged so far was delivered or, offline, stored."""
        return self._front is None or self._front.flush(timeout_s)

    def close(self) -> None:
        """Wait up to `drain_timeout_s` for the bridge, and say in one line what is left."""
        _open.discard(self)
        front, self._front = self._front, None
        if front is not None:
            release_front(front, timeout_s=self._settings.drain_timeout_s)
