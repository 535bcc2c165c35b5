"""Virtual environments for the peers, which must not share one with the package under test.

`python -m tests.peers.environments weave weave-clickhouse` builds the named ones; `make test` does so
before pytest starts, and fixtures do it lazily. An environment lives in `.cache/peers/NAME-DIGEST`, where
the digest covers the pinned requirements and the interpreter, so a changed pin makes a new one. Several
test workers may ask at once: one builds under a file lock, the others wait. What was left half-built by a
killed run is thrown away and built again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
CACHE = CHECKOUT / ".cache" / "peers"

REQUIREMENTS = {
    "apps": "tests/peers/apps/requirements.txt",
    "apps-gradio5": "tests/peers/apps/requirements-gradio5.txt",
    "collectors": "tests/peers/otlp/requirements.txt",
    "weave": "tests/peers/weave_server/requirements.txt",
    "weave-clickhouse": "tests/peers/weave_server/requirements-clickhouse.txt",
    "weave-sqlite": "tests/peers/weave_server/requirements-sqlite.txt",
    "weave-conversion": "tests/peers/weave_server/requirements-conversion.txt",
    "drift-evidently": "benchmarks/drift_peers/requirements-evidently.txt",
    "drift-frouros": "benchmarks/drift_peers/requirements-frouros.txt",
    "drift-nannyml": "benchmarks/drift_peers/requirements-nannyml.txt",
    "drift-river": "benchmarks/drift_peers/requirements-river.txt",
    "drift-whylogs": "benchmarks/drift_peers/requirements-whylogs.txt",
}
"""The peers that have an environment, and the file of exact pins that each is made from."""

WITH_CHECKOUT = frozenset(("apps", "apps-gradio5"))
"""Where the package under test is installed, too: editable, and anew if its pyproject changes."""


def python_of(name: str) -> Path:
    """The interpreter of the environment `name`, which is built first if it does not exist yet."""
    requirements = CHECKOUT / REQUIREMENTS[name]
    directory = CACHE / f"{name}-{_digest(requirements)}"
    python = directory / "bin" / "python"
    complete, installed = directory / "complete", None
    if name in WITH_CHECKOUT:
        pyproject = (CHECKOUT / "pyproject.toml").read_bytes()
        installed = directory / f"checkout-{hashlib.blake2b(pyproject, digest_size=6).hexdigest()}"
    if complete.exists() and (installed is None or installed.exists()):
        return python
    with locked(CACHE / f"{name}.lock"):
        if not complete.exists():
            _build(directory, requirements)
            complete.touch()
        if installed is not None and not installed.exists():
            _run(*_pip(python), "install", "--quiet", "--no-deps", "--editable", str(CHECKOUT))
            installed.touch()
    return python


def _digest(requirements: Path) -> str:
    digest = hashlib.blake2b(digest_size=6)
    digest.update(f"{sys.version_info[:2]} {sysconfig.get_platform()}\n".encode())
    for line in _pins(requirements):
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()


def _pins(requirements: Path) -> Iterator[str]:
    for line in requirements.read_text().splitlines():
        if line.startswith("-r "):
            yield from _pins(requirements.with_name(line.removeprefix("-r ").strip()))
        elif line and not line.startswith("#"):
            yield line


def _build(directory: Path, requirements: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    _run(sys.executable, "-m", "venv", str(directory))
    # The pins name everything that is needed, so there is nothing to resolve.
    _run(*_pip(directory / "bin" / "python"), "install", "--quiet", "--no-deps", "-r", str(requirements))


def _pip(python: Path) -> tuple[str, ...]:
    return (str(python), "-m", "pip", "--disable-pip-version-check", "--no-input")


def _run(*command: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Nobody else holds that lock meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main(names: list[str]) -> int:
    """Build the named environments and print where their interpreters are."""
    unknown = [name for name in names if name not in REQUIREMENTS]
    if unknown or not names:
        print(f"usage: python -m tests.peers.environments {{{','.join(REQUIREMENTS)}}} ...", file=sys.stderr)
        return 2
    for name in names:
        print(python_of(name))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
