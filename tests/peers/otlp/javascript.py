"""The official JavaScript SDK, which sends a few RAG traces and histograms to a server."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

from tests.peers.environments import CACHE, locked

SOURCE = Path(__file__).with_name("node")


def send(*options: str) -> dict:
    """What it says that it sent; AssertionError where an export failed."""
    script = _install() / "send_rag.mjs"
    done = subprocess.run(
        ["node", script, *options], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def _install() -> Path:
    pins = (SOURCE / "package.json").read_bytes()
    directory = CACHE / f"node-{hashlib.blake2b(pins, digest_size=6).hexdigest()}"
    with locked(CACHE / "node.lock"):
        if not (directory / "complete").exists():
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True)
            shutil.copy(SOURCE / "package.json", directory)
            command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"]
            subprocess.run(command, cwd=directory, check=True, capture_output=True, timeout=300)
            (directory / "complete").touch()
        shutil.copy(SOURCE / "send_rag.mjs", directory)
    return directory
