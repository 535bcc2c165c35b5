"""The last of a call before it is stored: encoded, bounded, without secrets, with its run and step."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

from otel_wandb.boundary import Boundaries
from otel_wandb.config import Settings
from otel_wandb.metrics.runs import service_of
from otel_wandb.traces.bounds import bound_call
from otel_wandb.traces.calls import Call
from otel_wandb.traces.finished import Placed
from otel_wandb.work import ShapedCall

_log = logging.getLogger("otel_wandb.pipeline")

_MEDIA_FROM_BYTES: Final = 64 << 10  # no smaller limit can be set
_MAX_CALL_BYTES: Final = 31 << 20  # the service refuses requests of more than 32 MiB


class CallFinisher:
    """Finishes calls. `locate` gives the run and step whose charts contain what ended at a time."""

    def __init__(
        self,
        *,
        project_of: Callable[[Placed], tuple[str, str]],
        locate: Callable[[str, int], tuple[str, int]],
        settings_of: Callable[[str], Settings],
        boundaries: Boundaries,
    ) -> None:
        self.counts: Counter[tuple[str, str, str]] = Counter()
        """What was withheld or left out of calls, since the caller last cleared it."""
        self._project_of = project_of
        self._locate = locate
        self._settings_of = settings_of
        self._boundaries = boundaries

    def finish(self, call: Call, placed: Placed) -> ShapedCall:
        """The call as it is stored."""
        entity, project = self._project_of(placed)
        run, step = self._locate(service_of(placed.resource.attributes), placed.span.end_ns)
        body = self._bound(call.encode(), placed.config)
        redacted = self._boundaries.of(placed.config).redact_call(body)
        if redacted.withheld:
            self.counts["calls", "withheld", "redactor_failed"] += 1
        return ShapedCall(
            config=placed.config,
            entity=entity,
            project=project,
            trace_id=call.trace_id,
            span_id=call.id,
            started_us=placed.span.start_ns // 1000,
            run=run,
            step=step,
            body=redacted.body,
        )

    def _bound(self, body: bytes, config: str) -> bytes:
        if len(body) < _MEDIA_FROM_BYTES:
            return body
        try:
            bounded = bound_call(
                body, media_bytes=self._settings_of(config).max_media_bytes, call_bytes=_MAX_CALL_BYTES
            )
        except Exception:  # noqa: BLE001  a mistake of ours costs the limit, not the call
            _log.exception("A call of %d bytes could not be bounded.", len(body))
            return body
        for kind, n in bounded.left_out.items():
            self.counts["calls", "left_out", kind] += n
        return bounded.body
