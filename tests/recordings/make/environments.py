"""An environment of its own for each producer, in `.cache/recordings`, from the pins in its script."""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
CHECKOUT: Final = HERE.parents[2]
CACHE: Final = CHECKOUT / ".cache" / "recordings"
PRODUCERS: Final = HERE / "producers"

_CONSTANTS: Final = ("REQUIREMENTS", "SPANS", "CASES")
_OTLP: Final = ["opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"]
"""What `OTLP` stands for in the requirements of a producer."""


@dataclass(frozen=True)
class Producer:
    """A script, what it needs, what its spans are, and the names of its cases in order."""

    name: str
    requirements: list[str]
    spans: dict[str, str]
    """Pattern of a span's name, or of `CASE/NAME` → its kind; the first that matches. `step` is a workflow
    that is a part of one, without the input and output of the whole; `any` says nothing of the kind."""

    cases: list[str]

    @property
    def script(self) -> Path:
        return PRODUCERS / f"{self.name}.{'mjs' if self.is_node else 'py'}"

    @property
    def is_node(self) -> bool:
        return (PRODUCERS / f"{self.name}.mjs").exists()


def producers() -> list[str]:
    """The names of all producers."""
    return sorted(p.stem for p in PRODUCERS.iterdir() if p.suffix in (".py", ".mjs") and p.stem != "__init__")


def read_producer(name: str) -> Producer:
    """What a script says of itself, without running it."""
    node = PRODUCERS / f"{name}.mjs"
    if node.exists():
        constants = re.findall(r"^const (\w+) = (.*?);$", node.read_text(), re.MULTILINE | re.DOTALL)
        values = {key: json.loads(text) for key, text in constants if key in _CONSTANTS}
    else:
        tree = ast.parse((PRODUCERS / f"{name}.py").read_text())
        assigned = [(n.targets[0], n.value) for n in tree.body if isinstance(n, ast.Assign)]
        values = {
            t.id: ast.literal_eval(v) for t, v in assigned if isinstance(t, ast.Name) and t.id in _CONSTANTS
        }
    return Producer(name, *(values[key] for key in _CONSTANTS))


def prepare(producer: Producer) -> Path:
    """The interpreter of a producer's environment, which is built where there is none."""
    digest = hashlib.blake2b("\n".join(producer.requirements).encode(), digest_size=6).hexdigest()
    directory = CACHE / f"{producer.name}-{digest}"
    if producer.is_node:
        return _prepare_node(producer, directory)
    python = directory / "bin" / "python"
    if not (directory / "complete").exists():
        shutil.rmtree(directory, ignore_errors=True)
        pins = [p for r in producer.requirements for p in (_OTLP if r == "OTLP" else [r])]
        _run(sys.executable, "-m", "venv", "--without-pip", str(directory))
        _run(_uv(), "pip", "install", "--quiet", "--python", str(python), *pins)
        (directory / "complete").touch()
    return python


def _prepare_node(producer: Producer, directory: Path) -> Path:
    node = shutil.which("node")
    if node is None:
        raise RuntimeError("node is not installed")
    if not (directory / "complete").exists():
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        (directory / "package.json").write_text('{"private": true, "type": "module"}')
        _run("npm", "install", "--silent", "--ignore-scripts", "--no-audit", "--no-fund",
             "--prefix", str(directory), *producer.requirements)  # fmt: skip
        (directory / "complete").touch()
    return Path(node)


@functools.cache
def _uv() -> str:
    """A fast installer, itself installed by pip: some environments have two hundred packages."""
    directory = CACHE / "uv"
    uv = directory / "bin" / "uv"
    if not uv.exists():
        _run(sys.executable, "-m", "venv", str(directory))
        _run(str(directory / "bin" / "python"), "-m", "pip", "install", "--quiet", "uv")
    return str(uv)


def _run(*command: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
