"""The redaction that settings ask for, of all that goes into the store: calls, scores, rows, alerts, names.

Each configuration has its own. Where nothing is set beyond the default, a call costs one search and a name
one look-up. What becomes a name in charts, or says of a run whose it is, is redacted whatever `redact` says:
no chart is of use under the name of a secret.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

import msgspec

from otel_wandb.config import HASH_KEY_VARIABLE, Settings, load_dotted
from otel_wandb.conventions.decoding import encode_text
from otel_wandb.errors import ConfigError
from otel_wandb.metrics.from_spans import Spend, Told
from otel_wandb.metrics.observed import Labels, Source
from otel_wandb.own_redaction import OwnRedactor, RedactionError
from otel_wandb.records import Attributes, LogBatch, MetricBatch, Resource, SpanBatch, Value
from otel_wandb.redaction import (
    DEFAULT_PATTERNS,
    PII_PATTERNS,
    Mark,
    Pattern,
    Redacted,
    Redactor,
    drop,
    hash_with,
    mask,
    withhold,
)
from otel_wandb.redaction_keys import KeyRedactor
from otel_wandb.redaction_rules import Globs, Rules, is_always_kept
from otel_wandb.traces.clean_names import usual_redactor

_log = logging.getLogger("otel_wandb.redaction")

WITHHELD: Final = "withheld"
"""The value of an attribute that could not be redacted."""

_Told: TypeAlias = tuple[tuple[str, Value], ...]
_UNKNOWN: Final[_Told] = (("", None),)
MAX_NAME_CHARS: Final = 128
"""So much is shown of a name in charts and tables. It is cut behind the patterns, which know no halves."""

_MAX_KNOWN: Final = 50_000
_MAX_KNOWN_CHARS: Final = 500
_LARGE: Final = 10**12
_ROUTES: Final = ("wandb.entity", "wandb.project")
_Batch = TypeVar("_Batch", SpanBatch, LogBatch, MetricBatch)
_Change: TypeAlias = Callable[[bytes], tuple[bytes, int]]


class Boundary:
    """The redaction of one configuration. Not thread-safe.

    `texts` and `names` look for patterns in what is said and in what becomes a name; None: nothing is looked
    for. `rules` of None: there are none. `broken` tells why nothing can be redacted, so that nothing passes.
    """

    def __init__(
        self,
        *,
        texts: Redactor | None,
        names: Redactor,
        rules: Rules | None = None,
        has_more_names: bool = False,
        broken: str = "",
    ) -> None:
        self.counts: Counter[tuple[str, str, str]] = Counter()
        """Attributes that were withheld, since the caller last cleared it."""
        self._texts, self._names, self._rules, self._broken = texts, names, rules, broken
        self._has_more_names = has_more_names or rules is not None or bool(broken)
        self._keys = None if texts is None or broken else KeyRedactor(texts)
        self._pairs: dict[tuple[str, object], _Told | None] = {}
        self._sources: dict[Source, Source] = {}
        self._same: dict[object, Source] = {}
        self._told: set[str] = set()
        self._resource: tuple[Resource, Resource] | None = None

    @property
    def is_open(self) -> bool:
        """Whether texts pass as they are."""
        return self._texts is None and self._rules is None and not self._broken

    def redact(self, body: bytes) -> Redacted:
        """The document without secrets; of what cannot be redacted, what `withhold` leaves."""
        return self._redact(body, None if self._rules is None else self._rules.change_texts, self._texts)

    def redact_call(self, body: bytes) -> Redacted:
        """The same for a call, whose keys and content are looked at."""
        return self._redact(body, None if self._rules is None else self._rules.change_call, self._texts)

    def redact_feedback(self, body: bytes) -> Redacted:
        """The same for a score."""
        return self._redact(body, None if self._rules is None else self._rules.change_feedback, self._texts)

    def clean(self, attributes: Attributes) -> Attributes:
        """The attributes without secrets: the same object where there are none, as there mostly are.

        A value that cannot be redacted is `withheld`. It costs a look-up for each text.
        """
        changed: list[tuple[str, _Told]] = []
        for name, value in attributes.items():
            if type(value) is str:
                told = self._pairs.get((name, value), _UNKNOWN)
                if told is _UNKNOWN:
                    told = self._learn(name, value)
            elif self._rules is None and not self._broken and _is_plain(value) and self._keeps_key(name):
                continue
            else:
                told = self._clean_pair(name, value)
            if told is not None:
                changed.append((name, told))
        if not changed:
            return attributes
        instead = dict(changed)
        pairs = (instead.get(name, ((name, value),)) for name, value in attributes.items())
        return {name: value for pair in pairs for name, value in pair}

    def clean_text(self, name: str, text: str) -> str:
        """The text of an attribute without secrets; empty where it is to be dropped."""
        cleaned = self.clean({name: text})
        told = next(iter(cleaned.values()), "")
        return told if isinstance(told, str) else str(told)

    def clean_resource(self, resource: Resource) -> Resource:
        """The resource without secrets and with no attribute that is not to be kept."""
        if self._resource is not None and self._resource[0] is resource:
            return self._resource[1]
        attributes = resource.attributes
        if self._rules is not None and self._rules.keep_keys is not None:
            attributes = {name: value for name, value in attributes.items() if self._rules.keeps(name)}
        cleaned = self.clean(attributes)
        for name in _ROUTES:  # a mark is no project
            if cleaned.get(name) != attributes.get(name):
                cleaned = {other: value for other, value in cleaned.items() if other != name}
        changed = resource
        if cleaned is not resource.attributes:
            changed = Resource(cleaned, resource.schema_url)
        self._resource = resource, changed
        return changed

    def clean_batch(self, batch: _Batch) -> _Batch:
        """The batch with its resource cleaned, and keys; the rest is when it has become calls.

        Keys, since dialects take them apart at their dots. One of metrics stays as it is, since a resource
        tells its streams apart: see `Shown`.
        """
        if isinstance(batch, MetricBatch):
            return batch
        resource = self.clean_resource(batch.resource)
        if resource is not batch.resource:
            batch = msgspec.structs.replace(batch, resource=resource)
        return batch if self._keys is None else self._keys.clean(batch)

    def clean_told(self, told: Told) -> Told:
        """What a span tells of charts, without secrets; it is changed in place."""
        if told.spend is not None:
            told.spend = self._clean_spend(told.spend)
        for one in told.observations:
            one.source = self._clean_source(one.source)
        return told

    def _clean_spend(self, spend: Spend) -> Spend:
        provider = spend.provider and self.clean_text("gen_ai.provider.name", spend.provider)
        model = self.clean_text("gen_ai.request.model", spend.model)
        answered = self.clean_text("gen_ai.response.model", spend.answered)
        labels = _cut(self._clean_labels(spend.labels)) if spend.labels else ()
        if (provider, model, answered, labels) == (
            spend.provider,
            spend.model,
            spend.answered,
            spend.labels,
        ):
            return spend
        return spend._replace(provider=provider, model=model, answered=answered, labels=labels)

    def _clean_source(self, source: Source) -> Source:
        known = self._sources.get(source)
        if known is None:
            if len(self._sources) >= _MAX_KNOWN:
                self._sources.clear()
            instrument, unit, labels = source.key
            key = instrument, unit, _cut(self._clean_labels(labels) if self._has_more_names else labels)
            known = source if key == source.key else self._same.setdefault(key, Source(key))
            self._sources[source] = known
        return known

    def _clean_labels(self, labels: Labels) -> Labels:
        cleaned = ((name, self.clean_text(name, text)) for name, text in labels)
        return tuple((name, text) for name, text in cleaned if text)

    def _keeps_key(self, name: str) -> bool:
        told = self._pairs.get((name, ""), _UNKNOWN)
        return (self._learn(name, "") if told is _UNKNOWN else told) is None

    def _learn(self, name: str, text: str) -> _Told | None:
        if len(text) > _MAX_KNOWN_CHARS:
            return self._clean_pair(name, text)
        if len(self._pairs) >= _MAX_KNOWN:
            self._pairs.clear()
        told = self._pairs[name, text] = self._clean_pair(name, text)
        return told

    def _clean_pair(self, name: str, value: Value) -> _Told | None:
        """The attributes that stand in the place of this one; None: it stays as it is."""
        body = encode_text({name: value}).encode()
        redacted = self._redact(
            body, None if self._rules is None else self._rules.change_attributes, self._names
        )
        if redacted.withheld and is_always_kept(name):
            redacted = self._names.redact(body)  # what operators call a service is at least looked at
        if redacted.withheld:
            self.counts["attributes", "withheld", "redactor_failed"] += 1
            return ((name, WITHHELD),)
        if redacted.body == body:
            return None
        return tuple(msgspec.json.decode(redacted.body, type=dict[str, object]).items())  # type: ignore[arg-type]

    def _redact(self, body: bytes, change: _Change | None, redactor: Redactor | None) -> Redacted:
        if self._broken:
            return Redacted(withhold(body), {}, True)
        hits = 0
        if change is not None:
            try:
                body, hits = change(body)
            except Exception as error:  # noqa: BLE001  whatever failed, the content must not pass
                self._tell(_name_error(error))
                return Redacted(withhold(body), {}, True)
        redacted = Redacted(body, {}, False) if redactor is None else redactor.redact(body)
        return redacted._replace(hits={**redacted.hits, "key": hits}) if hits else redacted

    def _tell(self, trouble: str) -> None:
        """Log what went wrong, once; without the traceback, whose messages may hold the content."""
        if trouble not in self._told:
            self._told.add(trouble)
            _log.error("What cannot be redacted is withheld, and counted: %s.", trouble)


class Boundaries:
    """The boundaries of all configurations. `redactor` looks for what is looked for by default."""

    def __init__(self, settings_of: Callable[[str], Settings], redactor: Redactor) -> None:
        self._settings_of = settings_of
        self._redactor = redactor
        self._known: dict[str, Boundary] = {}
        self._made: dict[object, Boundary] = {}

    def take_counts(self) -> Counter[tuple[str, str, str]]:
        """What was withheld since the last call."""
        counts: Counter[tuple[str, str, str]] = Counter()
        for boundary in self._made.values():
            counts.update(boundary.counts)
            boundary.counts.clear()
        return counts

    def of(self, config: str) -> Boundary:
        """The boundary of what frames bring that name these settings."""
        known = self._known.get(config)
        if known is None:
            settings = self._settings_of(config)
            asked = tuple(getattr(settings, name) for name in _ASKED)
            known = self._made.get(asked)
            if known is None:
                known = self._made[asked] = _make_boundary(settings, self._redactor)
            self._known[config] = known
        return known


_ASKED: Final = (
    "redact", "pii", "redact_keys", "keep_keys", "redact_mode", "redact_with", "hash_key_file",
    "capture_content",
)  # fmt: skip
"""The settings that a boundary follows from."""


def _make_boundary(settings: Settings, usual: Redactor) -> Boundary:
    try:
        mark = _choose_mark(settings)
        rules = _make_rules(settings, mark)
    except ConfigError as error:
        _log.error("Nothing can be redacted, so all content is withheld: %s", error)
        return Boundary(texts=None, names=usual_redactor(), broken=str(error))
    more: tuple[Pattern, ...] = PII_PATTERNS if settings.pii == "basic" else ()
    is_usual = not more and mark is mask
    names = usual_redactor() if is_usual else Redactor((*DEFAULT_PATTERNS, *more), mark)
    texts: Redactor | None = usual if is_usual else names
    if not settings.redact:
        texts = Redactor(more, mark) if more else None
    return Boundary(texts=texts, names=names, rules=rules, has_more_names=not is_usual)


def _choose_mark(settings: Settings) -> Mark:
    if settings.redact_mode == "hash":
        return hash_with(read_hash_key(settings.hash_key_file, os.environ))
    return drop if settings.redact_mode == "drop" else mask


def read_hash_key(file: str, environ: Mapping[str, str]) -> bytes:
    """The key that hashes are made with: of the file, else of the environment. Raises ConfigError."""
    try:
        key = Path(file).read_bytes().strip() if file else environ.get(HASH_KEY_VARIABLE, "").strip().encode()
    except OSError as error:
        raise ConfigError(f"hash_key_file {file} cannot be read: {error.strerror}") from None
    if not key:
        raise ConfigError(
            f"redact_mode is hash, and there is no key; write one into a file and name it by hash_key_file, "
            f"or set {HASH_KEY_VARIABLE}"
        )
    return key


def _make_rules(settings: Settings, mark: Mark) -> Rules | None:
    asked = settings.redact_keys, settings.keep_keys, settings.redact_with
    if not any(asked) and settings.capture_content == "full":
        return None
    return Rules(
        mark,
        redact_keys=_globs(settings.redact_keys),
        keep_keys=_globs(settings.keep_keys),
        own=_load_own(settings.redact_with) if settings.redact_with else None,
        capture=settings.capture_content,
        drops=settings.redact_mode == "drop",
    )


def _globs(words: str) -> Globs | None:
    return Globs(words.split(",")) if words else None


def _load_own(path: str) -> OwnRedactor:
    function = load_dotted(path)
    if not callable(function):
        raise ConfigError(f"redact_with is {path!r}, which is no function")
    return OwnRedactor(function)


def _cut(labels: Labels) -> Labels:
    return tuple((name, text[:MAX_NAME_CHARS]) for name, text in labels)


def _is_plain(value: Value) -> bool:
    """Whether it is a number that is too small to be more than that."""
    return value is None or isinstance(value, bool | float) or (isinstance(value, int) and value < _LARGE)


def _name_error(error: Exception) -> str:
    # Ours say what went wrong and hold no content; of others only the kind is told.
    return str(error) if isinstance(error, RedactionError) else type(error).__name__
