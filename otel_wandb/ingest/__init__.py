"""How telemetry comes in: from the SDK, over OTLP, out of files; all of it as the records of `records.py`."""
