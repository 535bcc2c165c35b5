"""Fixtures with a stand-in for W&B: `tests/conftest.py` imports them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.peers.wandb import WandbPeer
from tests.peers.weave import WeavePeer


class OneKeyPeer(WeavePeer):
    """A Weave server that takes the key which the W&B one takes."""

    api_key = WandbPeer.api_key


@pytest.fixture(scope="session")
def wandb_process() -> Iterator[WandbPeer]:
    with WandbPeer() as peer:
        yield peer


@pytest.fixture
def wandb_peer(wandb_process: WandbPeer) -> WandbPeer:
    """A W&B server: running, empty and in good health when the test begins."""
    wandb_process.ensure_running()
    wandb_process.reset()
    return wandb_process
