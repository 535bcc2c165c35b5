"""The settings that frames name by digest, as the fronts wrote them into the data directory."""

from __future__ import annotations

import logging

from otel_wandb.config import Settings
from otel_wandb.datadir import DataDir
from otel_wandb.errors import OtelWandbError

_log = logging.getLogger("otel_wandb.bridge")


class StoredSettings:
    """Reads each document once. `own` are those of the bridge, which stand in for one that is gone."""

    def __init__(self, data_dir: DataDir | None, own: Settings) -> None:
        self._data_dir = data_dir
        self._own = own
        self._known: dict[str, Settings] = {own.digest: own, "": own}

    def find(self, digest: str) -> Settings:
        """The settings of that digest. Never raises: what cannot be read is logged."""
        settings = self._known.get(digest)
        if settings is None:
            settings = self._known[digest] = self._read(digest)
        return settings

    def _read(self, digest: str) -> Settings:
        try:
            document = self._data_dir.read_config(digest) if self._data_dir else None
            return Settings.from_json(document) if document else self._own
        except (OSError, OtelWandbError, ValueError) as error:
            _log.warning("The settings %s cannot be read (%s); this bridge's own are used.", digest, error)
            return self._own
