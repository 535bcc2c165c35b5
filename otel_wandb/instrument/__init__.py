"""Instrumentations of our own: instrumentors as OpenTelemetry has them, by entry point, and plain OTel.

Nothing in here knows W&B or the rest of this package: with any other exporter they tell the same. Who is to
see what they tell says so as for every other instrumentation (`OTEL_PYTHON_DISABLED_INSTRUMENTATIONS`).
"""
