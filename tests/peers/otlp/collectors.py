"""Real collectors on loopback, in front of a server: rotel (Rust), and the official one's exporter (Go).

rotel takes OTLP and hands it on in batches, with retries and without a disk queue; it loses the data of some
metrics that come as JSON. What of the official Collector is on PyPI reads log files alone, and sends them by
its `otlphttp` exporter with queue and retry. Both are binaries for Linux.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.peers.environments import python_of

OTELCOL = """\
receivers:
  filelog: {{include: ["{log_file}"], start_at: beginning, poll_interval: 100ms}}
processors:
  batch: {{send_batch_size: 50, send_batch_max_size: 50, timeout: 100ms}}
exporters:
  otlphttp:
    endpoint: {out}
    compression: {compression}
    encoding: {encoding}
    retry_on_failure: {{enabled: true, initial_interval: 200ms, max_interval: 1s}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{logs: {{receivers: [filelog], processors: [batch], exporters: [otlphttp]}}}}
"""


@contextlib.contextmanager
def rotel(out: str, protocol: str, directory: Path) -> Iterator[tuple[str, str]]:
    """The gRPC and HTTP addresses of a collector that sends what it gets to `out`."""
    grpc, http = (f"127.0.0.1:{_free_port()}" for _ in range(2))
    command = [_find("rotel", "rotel-agent"), "start", "--pid-file", directory / "rotel.pid"]
    command += [
        "--log-file",
        directory / "rotel.log",
        "--otlp-grpc-endpoint",
        grpc,
        "--otlp-http-endpoint",
        http,
    ]
    command += ["--exporter", "otlp", "--otlp-exporter-endpoint", out, "--otlp-exporter-protocol", protocol]
    command += ["--otlp-exporter-retry-initial-backoff", "200ms", "--batch-timeout", "100ms"]
    command += ["--batch-max-size", "20"]  # so that a request fits into the small journal of a test
    with _running(command, directory / "rotel.out"):
        for address in (grpc, http):
            _wait_open(address)
        yield grpc, http


@contextlib.contextmanager
def otelcol(out: str, log_file: Path, directory: Path, *, compression: str, encoding: str) -> Iterator[None]:
    """The official Collector, which sends each line of the file to `out`."""
    config = directory / "otelcol.yaml"
    config.write_text(OTELCOL.format(out=out, log_file=log_file, compression=compression, encoding=encoding))
    binary = _find("otel_collector", "bin", "otelcol-contrib_linux_amd64")
    with _running([binary, "--config", config], directory / "otelcol.out"):
        yield


def _find(*parts: str) -> Path:
    python = python_of("collectors")
    (found,) = python.parent.parent.glob("lib/python*/site-packages/" + "/".join(parts))
    if not os.access(found, os.X_OK):
        found.chmod(0o755)
    return found


@contextlib.contextmanager
def _running(command: list, log: Path) -> Iterator[None]:
    clean = {name: text for name, text in os.environ.items() if not name.startswith(("ROTEL_", "OTEL_"))}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=clean)
    try:
        yield
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_open(address: str) -> None:
    host, _, port = address.rpartition(":")
    deadline_s = time.monotonic() + 20
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.05)
