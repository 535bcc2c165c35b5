"""The last of a call before it is stored: encoded, bounded, without secrets, with what was decided on it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

import msgspec

from otel_wandb.boundary import Boundaries
from otel_wandb.config import Settings
from otel_wandb.traces.bounds import bound_call
from otel_wandb.traces.calls import Call, cut_names
from otel_wandb.traces.sampling import Decision

_log = logging.getLogger("otel_wandb.pipeline")

_MEDIA_FROM_BYTES: Final = 64 << 10  # no smaller limit can be set
_MAX_CALL_BYTES: Final = 31 << 20  # the service refuses requests of more than 32 MiB
_MAX_ENCODED_BYTES: Final = 1 << 40
"""Before the redaction only media are left out, each of which a digest stands for."""
_ATTRIBUTES: Final = b'"attributes":{'  # inside a text its quotes would be escaped, so this is the member


class CallFinisher:
    """Finishes calls."""

    def __init__(self, *, settings_of: Callable[[str], Settings], boundaries: Boundaries) -> None:
        self.counts: Counter[tuple[str, str, str]] = Counter()
        """What was withheld or left out of calls, since the caller last cleared it."""
        self._settings_of = settings_of
        self._boundaries = boundaries

    def finish(self, call: Call, config: str) -> bytes:
        """The call as it is stored, but for the sampling of its trace."""
        body = self._bound(call.encode(), config, _MAX_ENCODED_BYTES)
        redacted = self._boundaries.of(config).redact_call(body)
        if redacted.withheld:
            self.counts["calls", "withheld", "redactor_failed"] += 1
        # What is cut is cut behind the redaction, which would not know half a secret.
        body = cut_names(redacted.body) if call.has_long_name else redacted.body
        return body if len(body) <= _MAX_CALL_BYTES else self._bound(body, config, _MAX_CALL_BYTES)

    def _bound(self, body: bytes, config: str, call_bytes: int) -> bytes:
        if len(body) < _MEDIA_FROM_BYTES:
            return body
        try:
            bounded = bound_call(
                body, media_bytes=self._settings_of(config).max_media_bytes, call_bytes=call_bytes
            )
        except Exception:  # noqa: BLE001  a mistake of ours costs the limit, not the call
            _log.exception("A call of %d bytes could not be bounded.", len(body))
            return body
        for kind, n in bounded.left_out.items():
            self.counts["calls", "left_out", kind] += n
        return bounded.body


def tell_sampling(body: bytes, decision: Decision) -> bytes:
    """The finished call with what was decided on its trace under `attributes.sampling`.

    It is told afterwards, since it is found out of all calls of the trace; a call without attributes, of
    which nothing could be shown, stays as it is.
    """
    before, member, after = body.partition(_ATTRIBUTES)
    if not member:
        return body
    told = msgspec.json.encode({"probability": decision.probability, "reason": decision.reason})
    comma = b"" if after.startswith(b"}") else b","
    return b"".join((before, member, b'"sampling":', told, comma, after))
