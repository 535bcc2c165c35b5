"""The references of drift views as artifacts of W&B, which the runs use that measure from them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import msgspec

from otel_wandb.metrics.keys import make_identifier
from otel_wandb.view_settings import parse_views
from otel_wandb.views.definitions import Drift, name_view

KIND: Final = "drift-reference"
"""The type of these artifacts."""
FILE: Final = "reference.json"
"""Their only file, which `otel-wandb reference create --artifact` reads."""


class NamedReference(msgspec.Struct, frozen=True):
    """A reference as the process of wandb is told of it. The same content is the same version."""

    name: str
    kind: str
    file: str
    content: str
    metadata: Mapping[str, object]


@lru_cache(maxsize=64)
def list_references(views: str) -> tuple[NamedReference, ...]:
    """Those of the setting `views`, one for each view that was given one."""
    return tuple(
        NamedReference(
            f"{make_identifier(name_view(view))}_reference",
            KIND,
            FILE,
            view.reference.to_json().decode(),
            {
                "view": name_view(view),
                "instrument": view.instrument,
                "source": view.reference.source,
                "requests": view.reference.size,
            },
        )
        for view in parse_views(views)
        if isinstance(view, Drift) and view.reference is not None
    )
