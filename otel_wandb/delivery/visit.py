"""A look at W&B for `otel-wandb doctor`: may we in, and is a certain call there? Changes nothing."""

from __future__ import annotations

import os
import time
from types import TracebackType
from typing import Final, Self

from otel_wandb.delivery.credentials import Secret, WeaveTarget
from otel_wandb.delivery.weave_http import WeaveClient
from otel_wandb.errors import DeliveryRefused

_NOT_FOUND: Final = 404
_PAUSE_S: Final = 0.25


class Visit:
    """A connection with the key that is there now. Every method raises DeliveryError where W&B does not let
    us in, saying why."""

    def __init__(self, target: WeaveTarget, key: Secret, *, timeout_s: float) -> None:
        self._target = target
        self._key = key
        self._client = WeaveClient(target, timeout_s=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def find_entity(self) -> str:
        """The entity that W&B puts things under where nothing names one, asked of the application."""
        return self._client.default_entity(self._key)

    def find_project(self, entity: str, project: str) -> bool:
        """Whether the trace server shows the project to this key; a project is made with its first call."""
        try:
            self._client.read_back(self._key, f"{entity}/{project}", [os.urandom(8).hex()])
        except DeliveryRefused as refused:
            if refused.status == _NOT_FOUND:
                return False
            raise
        return True

    def wait_for_call(self, entity: str, project: str, call_id: str, *, timeout_s: float) -> bool:
        """Whether the call can be read within the time."""
        deadline_s = time.monotonic() + timeout_s
        while not self._client.read_back(self._key, f"{entity}/{project}", [call_id]):
            if time.monotonic() >= deadline_s:
                return False
            time.sleep(_PAUSE_S)
        return True
