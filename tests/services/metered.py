"""A service in miniature that measures requests: `python -m tests.services.metered --record FILE`.

It uses `otel_wandb.configure` and plain OpenTelemetry. The record holds the raw durations, one a line.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
from pathlib import Path

from opentelemetry import metrics, trace
from opentelemetry.util.types import AnyValue

from otel_wandb import configure


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    configured = configure()
    duration = metrics.get_meter("tests.metered").create_histogram("http.server.request.duration", unit="s")
    tracer = trace.get_tracer("tests.metered")
    dice = random.Random(options.seed)
    with options.record.open("a") as record:
        for number in range(options.requests):
            seconds = dice.lognormvariate(-3, 1.5)
            status = 500 if number % 20 == 0 else 200
            attributes: dict[str, AnyValue] = {
                "http.request.method": "POST",
                "http.route": "/chat",
                "http.response.status_code": status,
                **({"error.type": "500"} if status == 500 else {}),
            }
            with tracer.start_as_current_span("POST /chat", attributes=attributes):
                duration.record(seconds, attributes)
            record.write(f"{seconds!r}\n")
    configured.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
