"""The table of settings: the command line, the environment, files and `docs/settings.md` follow from it.

A field of `Settings` is a setting: its annotation says its type and what `About` tells, its default is the
default. `otel_wandb.config` finds the values. Only the standard library and msgspec are imported, since a
service that is instrumented imports this.
"""

import functools
import logging
from typing import Annotated, Final, Literal, get_args, get_origin, get_type_hints

import msgspec

from otel_wandb.errors import ConfigError
from otel_wandb.setting import About, Kind, Setting, Value
from otel_wandb.settings_serve import Serving

_log = logging.getLogger("otel_wandb.config")

_GIB: Final = 1 << 30
_MIB: Final = 1 << 20
_KIB: Final = 1 << 10


_CHARTS: Final = "Charts"
_DELIVERY: Final = "Delivery"
_PROCESS: Final = "The bridge"


class Settings(Serving, frozen=True, kw_only=True, dict=True):
    """Everything that can be set, checked and complete. Holds no secret: only where one is to be found."""

    interval_s: Annotated[
        float, About(_CHARTS, "The time that one row of charts covers.", at_least=1, at_most=3600)
    ] = 60.0
    rotate: Annotated[
        Literal["day", "week"],
        About(_CHARTS, "How long a W&B run lasts: a UTC day, or a week that begins on Monday."),
    ] = "day"
    lateness_s: Annotated[
        float,
        About(_CHARTS, "How long an interval stays open for data that comes late.", at_least=0, at_most=3600),
    ] = 15.0
    source: Annotated[
        Literal["auto", "metrics", "spans"],
        About(
            _CHARTS,
            "What latency, throughput and errors count from. `auto`: from metrics of a thing where the "
            "service sends any, else from its spans; that is found out in the first two intervals of a run.",
        ),
    ] = "auto"
    prices: Annotated[
        str,
        About(
            _CHARTS,
            "What models cost, in USD for a million tokens: by model, or a pattern with `*`, a mapping of "
            "`input`, `output`, `cache_read`, `cache_write`, and `provider` where only that one is meant. "
            "They go before the prices that come with the package, and Weave is told them for its own cost "
            "columns. In the environment: JSON.",
            form="prices",
        ),
    ] = ""
    cost_by: Annotated[
        str,
        About(
            _CHARTS,
            "Attributes by whose values the cost is charted, such as `user.id`, with commas between them: "
            "of the span, of those above it, or of its resource. The values become names of charts.",
            form="words",
        ),
    ] = "http.route"
    table_rows: Annotated[
        int,
        About(
            _CHARTS,
            "How many requests a table of an hour shows: the slowest, those that failed, and a draw of the "
            "others. 0: there are no tables.",
            at_least=0,
            at_most=5000,
        ),
    ] = 200
    alerts: Annotated[
        str,
        About(
            _CHARTS,
            "Rules over the keys of rows, and where alerts go: a mapping, or the path of a YAML file with "
            "one; see [alerts](alerts.md). In the environment: the path, or JSON.",
            form="alerts",
        ),
    ] = ""
    views: Annotated[
        str,
        About(
            _CHARTS,
            "What is watched for drift, degradation and budgets: a list of views, or the path of a YAML file "
            "with one; see [views](views.md). In the environment: the path, or JSON.",
            form="views",
        ),
    ] = ""
    false_alarm_days: Annotated[
        float,
        About(
            _CHARTS,
            "How many days all views together may go, without any change, before one false alarm is as "
            "likely as not.",
            at_least=1,
            at_most=3650,
        ),
    ] = 30.0

    request_timeout_s: Annotated[
        float, About(_DELIVERY, "How long an answer of W&B may take.", at_least=0.1, at_most=600)
    ] = 60.0
    settle_s: Annotated[
        float,
        About(
            _DELIVERY,
            "How long to wait, after an answer was lost, before reading back what was taken.",
            at_least=0,
            at_most=600,
        ),
    ] = 10.0
    max_batch_calls: Annotated[
        int, About(_DELIVERY, "How many calls one request may carry.", at_least=1, at_most=1000)
    ] = 1000
    max_batch_bytes: Annotated[
        int,
        About(
            _DELIVERY,
            "How large one request may be; the service refuses more than 32 MiB.",
            at_least=_KIB,
            at_most=32 * _MIB,
        ),
    ] = 31 * _MIB
    store_limit_bytes: Annotated[
        int,
        About(
            _DELIVERY,
            "What the store may hold; the oldest delivered calls go first, one that waits never does.",
            at_least=16 * _MIB,
        ),
    ] = 8 * _GIB
    drain_timeout_s: Annotated[
        float,
        About(
            _DELIVERY,
            "How long `shutdown` and the end of the process wait for the bridge to deliver.",
            at_least=0,
            at_most=600,
        ),
    ] = 8.0

    orphan_s: Annotated[
        float,
        About(
            _PROCESS,
            "How long the bridge still tries to deliver when the last service has gone; what is left then "
            "waits for the next start.",
            at_least=0,
            at_most=604_800,
        ),
    ] = 600.0
    bridge: Annotated[
        Literal["process", "thread"],
        About(
            _PROCESS,
            "Where the bridge runs: in a process of its own, or, for tests, in a thread of this one.",
        ),
    ] = "process"
    conversion_processes: Annotated[
        int,
        About(
            _PROCESS,
            "How many processes convert traces beside the bridge's own, which then reads and stores; see "
            "[scaling](scaling.md). 0: it does all of it.",
            at_least=0,
            at_most=64,
        ),
    ] = 0
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        About(_PROCESS, "What the bridge writes to `bridge.log`."),
    ] = "info"

    def to_json(self) -> bytes:
        """The canonical document: equal settings, equal bytes. `data_dir` is not in it, since it may move."""
        values = {setting.name: getattr(self, setting.name) for setting in SETTINGS}
        del values["data_dir"]
        return msgspec.json.encode(values, order="sorted")

    @classmethod
    def from_json(cls, document: bytes) -> "Settings":
        """The settings that a front of this, an older or a newer version wrote.

        What this version does not know is passed over, what is missing or not understood has its default.
        Raises ConfigError if it is no JSON object.
        """
        try:
            values = msgspec.json.decode(document, type=dict[str, object])
        except msgspec.DecodeError as error:
            raise ConfigError(f"the stored configuration is not a JSON object: {error}") from None
        known: dict[str, Value] = {}
        for setting in SETTINGS:
            if setting.name in values:
                try:
                    known[setting.name] = setting.read(values[setting.name], "the stored configuration")
                except ConfigError as error:
                    _log.warning("%s; the default %r is used.", error, setting.default)
        return msgspec.convert(known, cls)

    @functools.cached_property
    def digest(self) -> str:
        """16 hex digits that name these settings.

        It is the name of the document that was written: what another version made of it has another digest.
        """
        import hashlib

        return hashlib.blake2b(self.to_json(), digest_size=8).hexdigest()


def _kind_of(annotated: object, about: About) -> tuple[Kind, tuple[str, ...]]:
    if get_origin(annotated) is Literal:
        return "choice", get_args(annotated)
    if annotated is bool:
        return "flag", ()
    if annotated is int:
        return "whole", ()
    return ("number" if annotated is float else about.form), ()


def _read_table() -> tuple[Setting, ...]:
    rows = []
    hints = get_type_hints(Settings, include_extras=True)
    for name, default in zip(Settings.__struct_fields__, Settings.__struct_defaults__, strict=True):
        annotated, about = get_args(hints[name])
        kind, choices = _kind_of(annotated, about)
        rows.append(Setting(name=name, kind=kind, default=default, choices=choices, about=about))
    return tuple(rows)


SETTINGS: Final[tuple[Setting, ...]] = _read_table()
