"""The redaction of what becomes a name in charts: a tool, an agent, an error, an evaluation.

It happens whatever the setting `redact` says, which is about what calls hold: no chart is of use under the
name of a secret. Whoever asks remembers the outcome, since names recur.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final

import msgspec

from otel_wandb.metrics.observed import Labels
from otel_wandb.redaction import Redactor

_WITHHELD: Final = "withheld"
_decode: Final = msgspec.json.Decoder(Labels).decode


def clean_names(labels: Sequence[tuple[str, str]]) -> Labels:
    """The attributes with each secret in them replaced; where that fails, no value of them is left."""
    try:
        encoded = msgspec.json.encode(labels)
        redacted = usual_redactor().redact(encoded)
        if redacted.body is encoded:
            return tuple(labels)
        if not redacted.withheld:
            return _decode(redacted.body)
    except (msgspec.MsgspecError, UnicodeError):  # a lone surrogate, say
        pass
    return tuple((name, _WITHHELD) for name, _ in labels)


@cache
def usual_redactor() -> Redactor:
    """The redactor of names, which looks for secrets and nothing else."""
    return Redactor()
