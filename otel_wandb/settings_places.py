"""The table of settings, its first part: where things go and live, and what becomes of traces."""

from typing import Annotated, Final, Literal

import msgspec

from otel_wandb.setting import About

_GIB: Final = 1 << 30
_MIB: Final = 1 << 20
_KIB: Final = 1 << 10

_WHERE: Final = "Where it goes"
_JOURNAL: Final = "Data directory and journal"
_TRACES: Final = "Traces"


class Places(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The settings that `Settings` begins with."""

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
        int, About(_JOURNAL, "What the journal may hold before appends are refused.", at_least=_MIB)
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
    redact: Annotated[
        bool,
        About(
            _TRACES,
            "Replace what looks like a secret before anything is stored; see [redaction](redaction.md).",
        ),
    ] = True
    pii: Annotated[
        Literal["none", "basic"],
        About(
            _TRACES,
            "Personal data that is replaced as well. `basic`: e-mail addresses, telephone numbers, IBANs and "
            "addresses of the internet.",
        ),
    ] = "none"
    redact_keys: Annotated[
        str,
        About(
            _TRACES,
            "Keys whose values are replaced, whatever they are: globs over keys and the ends of dotted "
            "paths, such as `user.email` or `inputs.arguments.*`, with commas between them.",
            form="words",
        ),
    ] = ""
    keep_keys: Annotated[
        str,
        About(
            _TRACES,
            "Globs of the free attributes that stay: of `otel`, `metadata` and `resource`, and of those of "
            "events, log records and links. Empty: all stay.",
            form="words",
        ),
    ] = ""
    redact_mode: Annotated[
        Literal["mask", "hash", "drop"],
        About(
            _TRACES,
            "What stands in the place of what is replaced. `mask`: its kind. `hash`: a hash under a key, so "
            "that equal values stay equal. `drop`: nothing.",
        ),
    ] = "mask"
    hash_key_file: Annotated[
        str,
        About(
            _TRACES,
            "A file with the key that `redact_mode: hash` hashes with. Empty: the variable "
            "`OTEL_WANDB_HASH_KEY`.",
            form="path",
        ),
    ] = ""
    redact_with: Annotated[
        str,
        About(
            _TRACES,
            "A function of your own, as `package.module:function`, which the bridge can import: it is given "
            "each text of a call, and gives back what may be stored. Where it fails, the call is withheld.",
        ),
    ] = ""
    capture_content: Annotated[
        Literal["full", "metadata", "none"],
        About(
            _TRACES,
            "How much of inputs and output is stored. `metadata`: their shape, roles and the names of tools, "
            "and of each text its length. `none`: neither they, nor messages of errors, events and log "
            "records, nor attributes that nobody understood.",
        ),
    ] = "full"

    traces_per_minute: Annotated[
        int,
        About(
            _TRACES,
            "How many traces a minute are kept in Weave, about; charts and tables are of all, and sums over "
            "those that are kept can be made right: see [sampling](sampling.md). 0: every one.",
            at_least=0,
            at_most=10_000_000,
        ),
    ] = 0
    max_media_bytes: Annotated[
        int,
        About(
            _TRACES,
            "How large an image, sound or file in a call may be; larger ones become a note with a hash.",
            at_least=64 * _KIB,
            at_most=20 * _MIB,
        ),
    ] = 10 * _MIB
