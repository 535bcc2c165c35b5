"""Fixtures of all tests: a clean environment, and peers that live for the session, wiped for each test."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from otel_wandb.config import Settings
from otel_wandb.store import Store
from tests.peers.fixtures_wandb import OneKeyPeer, wandb_peer, wandb_process
from tests.peers.wandb import WandbPeer
from tests.peers.weave import WeavePeer
from tests.spends import Works

__all__ = ["wandb_peer", "wandb_process"]

_FOREIGN = ("OTEL_", "WANDB_", "WEAVE_", "WF_")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No setting or key of the developer's, no data directory but the test's own, no bridge left over."""
    for name in [name for name in os.environ if name.startswith(_FOREIGN)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("OTEL_WANDB_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    yield
    # By their command lines: one that is just starting has not written who it is.
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "otel_wandb.bridge_process" in words and any(str(tmp_path) in word for word in words):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


@pytest.fixture(scope="session")
def weave_process() -> Iterator[WeavePeer]:
    with OneKeyPeer() as peer:
        yield peer


@pytest.fixture
def weave_peer(weave_process: WeavePeer) -> WeavePeer:
    """A real Weave trace server: running, empty and in good health when the test begins."""
    weave_process.ensure_running()
    weave_process.reset()
    return weave_process


@pytest.fixture
def online(weave_peer: WeavePeer, monkeypatch: pytest.MonkeyPatch) -> WeavePeer:
    """The Weave peer, with an environment that leads to it and the project `team/rag`."""
    for name, value in weave_peer.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OTEL_WANDB_PROJECT", "team/rag")
    return weave_peer


@pytest.fixture
def all_online(online: WeavePeer, wandb_peer: WandbPeer, monkeypatch: pytest.MonkeyPatch) -> WeavePeer:
    """The same, and the W&B peer for the rows of charts, which spans and scores make, too."""
    monkeypatch.setenv("WANDB_BASE_URL", wandb_peer.url)
    return online


@pytest.fixture
def works_of(tmp_path: Path) -> Iterator[Callable[[Settings], Works]]:
    """A drain under the settings, with a store on disk: `store.sqlite` in the test's directory."""
    stores = []

    def make(settings: Settings) -> Works:
        works = Works(settings)
        works.store = Store.open(tmp_path / "store.sqlite")
        works.kill()
        stores.append(works.store)
        return works

    yield make
    for store in stores:
        store.close()
