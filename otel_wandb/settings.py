"""The table of settings: the command line, the environment, files and `docs/settings.md` follow from it.

A field of `Settings` is a setting: its annotation says its type and what `About` tells, its default is the
default. `otel_wandb.config` finds the values. Only the standard library and msgspec are imported, since a
service that is instrumented imports this.
"""

import functools
import logging
from typing import Annotated, Final, Literal, get_args, get_origin

import msgspec

from otel_wandb.errors import ConfigError
from otel_wandb.setting import About, Kind, Setting, Value

_log = logging.getLogger("otel_wandb.config")

_GIB: Final = 1 << 30
_MIB: Final = 1 << 20
_KIB: Final = 1 << 10


_WHERE: Final = "Where it goes"
_JOURNAL: Final = "Data directory and journal"
_TRACES: Final = "Traces"
_CHARTS: Final = "Charts"
_DELIVERY: Final = "Delivery"
_PROCESS: Final = "The bridge"


class Settings(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Everything that can be set, checked and complete. Holds no secret: only where one is to be found."""

    project: Annotated[
        str,
        About(
            _WHERE,
            "The W&B project, as `project` or `entity/project`. The resource attribute `wandb.project` of a "
            "span goes before it.",
            standard=("WANDB_PROJECT",),
        ),
    ] = "otel-wandb"
    entity: Annotated[
        str,
        About(
            _WHERE,
            "The W&B team or user. Empty: the one that the API key belongs to. The resource attribute "
            "`wandb.entity` of a span goes before it.",
            standard=("WANDB_ENTITY",),
        ),
    ] = ""
    mode: Annotated[
        Literal["auto", "online", "offline"],
        About(
            _WHERE,
            "`online`: deliver, and wait for an API key that is missing. `offline`: everything stays in the "
            "local store, nothing is sent. `auto`: online if there is an API key. Of `WANDB_MODE`, "
            "`disabled` and `dryrun` mean offline, `run` and `shared` mean online.",
            standard=("WANDB_MODE",),
            meanings={"disabled": "offline", "dryrun": "offline", "run": "online", "shared": "online"},
        ),
    ] = "auto"
    base_url: Annotated[
        str,
        About(
            _WHERE,
            "The W&B server. Empty: the one that `wandb login` noted, else https://api.wandb.ai.",
            form="url",
            standard=("WANDB_BASE_URL",),
        ),
    ] = ""
    trace_url: Annotated[
        str,
        About(
            _WHERE,
            "The Weave trace server. Empty: https://trace.wandb.ai, or `base_url` and `/traces` where that "
            "is another server.",
            form="url",
            standard=("WF_TRACE_SERVER_URL",),
        ),
    ] = ""
    api_key_file: Annotated[
        str,
        About(
            _WHERE,
            "A file that holds the API key, read again at each use, so that the key may rotate. Empty: "
            "`WANDB_API_KEY`, else netrc.",
            form="path",
        ),
    ] = ""
    proxy: Annotated[
        str,
        About(
            _WHERE,
            "The HTTP proxy to W&B. Empty: as `HTTPS_PROXY` and `NO_PROXY` say.",
            form="url",
        ),
    ] = ""

    data_dir: Annotated[
        str,
        About(
            _JOURNAL,
            "Where journal, store and everything else lives. Empty: `otel-wandb/SERVICE` in the user's state "
            "directory, where SERVICE is `OTEL_SERVICE_NAME`, else `default`.",
            form="path",
            variable="OTEL_WANDB_DIR",
        ),
    ] = ""
    fsync: Annotated[
        Literal["never", "interval", "always"],
        About(
            _JOURNAL,
            "What an acknowledgement survives. `never`: the death of any process, not that of the machine. "
            "`interval`: that of the machine too, but for the last `fsync_interval_s`. `always`: both.",
        ),
    ] = "never"
    fsync_interval_s: Annotated[
        float,
        About(
            _JOURNAL,
            "How often the journal is synced when `fsync` is `interval`.",
            at_least=0.01,
            at_most=3600,
        ),
    ] = 1.0
    journal_limit_bytes: Annotated[
        int,
        About(
            _JOURNAL,
            "What the journal may hold before appends are refused.",
            at_least=_MIB,
        ),
    ] = 8 * _GIB
    journal_disk_share: Annotated[
        float,
        About(
            _JOURNAL,
            "What the journal may hold of the disk that is free or its own; the smaller limit holds.",
            at_least=0.001,
            at_most=1,
        ),
    ] = 0.2
    segment_bytes: Annotated[
        int,
        About(
            _JOURNAL,
            "The size at which a writer begins its next journal file.",
            at_least=64 * _KIB,
            at_most=_GIB,
        ),
    ] = 64 * _MIB

    linger_s: Annotated[
        float,
        About(
            _TRACES,
            "How long a trace waits for late log records after its last local root has ended.",
            at_least=0,
            at_most=300,
        ),
    ] = 6.0
    trace_idle_s: Annotated[
        float,
        About(
            _TRACES,
            "A trace to which nothing came for so long is finished.",
            at_least=0.1,
            at_most=86_400,
        ),
    ] = 60.0
    trace_max_s: Annotated[
        float,
        About(
            _TRACES,
            "A trace is finished at this age, whatever is still missing.",
            at_least=0.1,
            at_most=86_400,
        ),
    ] = 600.0
    trace_partial_after_s: Annotated[
        float,
        About(
            _TRACES,
            "From this age on, the finished subtrees of an open trace are delivered.",
            at_least=0.1,
            at_most=86_400,
        ),
    ] = 60.0
    max_open_traces: Annotated[
        int,
        About(
            _TRACES, "How many traces may be open; beyond that the oldest is finished as it is.", at_least=1
        ),
    ] = 50_000
    max_trace_spans: Annotated[
        int,
        About(_TRACES, "How many spans a trace may hold before it is given out in parts.", at_least=1),
    ] = 10_000
    max_open_bytes: Annotated[
        int,
        About(
            _TRACES,
            "How much the open traces may hold; beyond that the oldest is finished as it is.",
            at_least=_MIB,
        ),
    ] = 256 * _MIB
    fold_asgi: Annotated[
        bool, About(_TRACES, "Leave out the `http send` and `http receive` spans of ASGI servers.")
    ] = True
    redact: Annotated[bool, About(_TRACES, "Replace what looks like a secret before anything is stored.")] = (
        True
    )

    max_media_bytes: Annotated[
        int,
        About(
            _TRACES,
            "How large an image, sound or file in a call may be; larger ones become a note with a hash.",
            at_least=64 * _KIB,
            at_most=20 * _MIB,
        ),
    ] = 10 * _MIB

    interval_s: Annotated[
        float,
        About(
            _CHARTS,
            "The time that one row of charts covers.",
            at_least=1,
            at_most=3600,
        ),
    ] = 60.0
    rotate: Annotated[
        Literal["day", "week"],
        About(_CHARTS, "How long a W&B run lasts: a UTC day, or a week that begins on Monday."),
    ] = "day"
    lateness_s: Annotated[
        float,
        About(
            _CHARTS,
            "How long an interval stays open for data that comes late.",
            at_least=0,
            at_most=3600,
        ),
    ] = 15.0
    prices: Annotated[
        str,
        About(
            _CHARTS,
            "What models cost, in USD for a million tokens: by model, or a pattern with `*`, a mapping of "
            "`input`, `output`, `cache_read`, `cache_write`, and `provider` where only that one is meant. "
            "They go before the prices that come with the package. In the environment: JSON.",
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

    request_timeout_s: Annotated[
        float,
        About(
            _DELIVERY,
            "How long an answer of W&B may take.",
            at_least=0.1,
            at_most=600,
        ),
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
        int,
        About(
            _DELIVERY,
            "How many calls one request may carry.",
            at_least=1,
            at_most=1000,
        ),
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
    for name, default in zip(Settings.__struct_fields__, Settings.__struct_defaults__, strict=True):
        annotated, about = get_args(Settings.__annotations__[name])
        kind, choices = _kind_of(annotated, about)
        rows.append(Setting(name=name, kind=kind, default=default, choices=choices, about=about))
    return tuple(rows)


SETTINGS: Final[tuple[Setting, ...]] = _read_table()
