"""`python -m tests.recordings.make [PRODUCER ...]`: record, or --from-raw what was recorded before."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict
from typing import Any, Final

from tests.recordings.make.environments import (
    CACHE,
    CHECKOUT,
    HERE,
    Producer,
    prepare,
    producers,
    read_producer,
)
from tests.recordings.make.expected import expect
from tests.recordings.make.model_server import ModelServer
from tests.recordings.make.receiver import Receiver
from tests.recordings.make.scrubbing import Scrubber, find_machine
from tests.recordings.telemetry import read_spans

DATA: Final = HERE.parent / "data"
_RAW: Final = CACHE / "raw"
_TIMEOUT_S: Final = 120.0
_KEPT_PORTS: Final = (8001, 8002)
_PASSED_ON: Final = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH")


def record(producer: Producer, case: str) -> dict[str, Any]:
    """One case as it came: the requests of all signals, the model server's exchanges, the script's notes."""
    interpreter = prepare(producer)
    with ModelServer() as model, Receiver() as receiver:
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        environment |= {
            "PYTHONPATH": str(HERE),
            "PYTHONDONTWRITEBYTECODE": "1",
            "RECORDINGS_MODEL_PORT": str(model.port),
            "RECORDINGS_OTLP_PORT": str(receiver.port),
            "NODE_PATH": str(CACHE),
            "NO_PROXY": "*",
        }
        script = producer.script
        if producer.is_node:
            # Node looks for packages beside the script.
            script = next(CACHE.glob(f"{producer.name}-*/complete")).with_name("producer.mjs")
            script.write_text(producer.script.read_text())
        done = subprocess.run(
            [str(interpreter), *([] if producer.is_node else ["-P"]), str(script), case],
            cwd=CACHE,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        if done.returncode or not receiver.requests["traces"]:
            raise RuntimeError(f"{producer.name}/{case}: {done.stdout[-2000:]}\n{done.stderr[-6000:]}")
        for path in (*model.unknown, *receiver.unknown):
            print(f"    asked for an unknown path: {path}", file=sys.stderr)
        return {
            "ports": [model.port, receiver.port],
            "requests": receiver.requests,
            "exchanges": [asdict(exchange) for exchange in model.exchanges],
            "notes": model.notes,
        }


def keep(producer: Producer, case: str, raw: dict[str, Any]) -> None:
    """Write a recording, scrubbed, and what is expected of it."""
    scrubber = Scrubber(dict(zip(raw["ports"], _KEPT_PORTS, strict=True)), CHECKOUT)
    requests = scrubber.scrub_requests({s: r for s, r in raw["requests"].items() if s != "metrics"})
    spans = read_spans(requests["traces"], requests["logs"])
    expected = expect(
        case, spans, producer.spans, scrubber.scrub(raw["exchanges"]), scrubber.scrub(raw["notes"])
    )
    directory = DATA / producer.name
    directory.mkdir(parents=True, exist_ok=True)
    files = {f"{case}.expected.json": json.dumps(expected, indent=1, ensure_ascii=False) + "\n"}
    for signal, lines in requests.items():
        if lines:
            files[f"{case}.{signal}.jsonl"] = "".join(
                json.dumps(r, ensure_ascii=False, separators=(",", ":")) + "\n" for r in lines
            )
    for name, text in files.items():
        if left := find_machine(text, CHECKOUT):
            raise RuntimeError(f"{producer.name}/{name} still names this machine: {left}")
        (directory / name).write_text(text)


def main(arguments: list[str]) -> int:
    """Record the named producers, or all; 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("producers", nargs="*", metavar="PRODUCER")
    parser.add_argument("--case", help="only this one")
    parser.add_argument("--from-raw", action="store_true", help="scrub anew what is in .cache/recordings/raw")
    options = parser.parse_args(arguments)
    failed = 0
    for name in options.producers or producers():
        producer = read_producer(name)
        for case in [options.case] if options.case else producer.cases:
            raw_file = _RAW / f"{name}__{case}.json"
            try:
                if not options.from_raw:
                    raw_file.parent.mkdir(parents=True, exist_ok=True)
                    raw_file.write_text(json.dumps(record(producer, case)))
                keep(producer, case, json.loads(raw_file.read_text()))
                print(f"{name}/{case}")
            except (RuntimeError, ValueError, FileNotFoundError, subprocess.TimeoutExpired) as error:
                failed = 1
                print(f"{name}/{case} failed: {error}", file=sys.stderr)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
