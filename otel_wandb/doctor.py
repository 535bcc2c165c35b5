"""`otel-wandb doctor`: why nothing arrives. Each finding says what is so, and what to do if it is bad."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple

from otel_wandb.config import Resolved, Settings, resolve
from otel_wandb.datadir import DataDir
from otel_wandb.delivery.credentials import WeaveTarget
from otel_wandb.delivery.visit import Visit
from otel_wandb.errors import ConfigError, CredentialError, DeliveryError, DeliveryRefused, StoreError
from otel_wandb.probe import find_in_store, send_metric, send_span
from otel_wandb.status import Status, read_status

Level = Literal["good", "note", "bad"]

_LOW_DISK_BYTES: Final = 256 << 20
_ANSWER_S: Final = 10.0
_FROZEN_AFTER_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    subject: str
    says: str
    do: str = ""
    """What the user can do about it; empty where there is nothing to do."""

    def render(self) -> str:
        """One line for a person, and one more if there is something to do."""
        mark = {"good": "ok  ", "note": "note", "bad": "BAD "}[self.level]
        line = f"{mark}  {self.subject:13}  {self.says}"
        return f"{line}\n{'':19}  -> {self.do}" if self.do else line


class _Patient(NamedTuple):
    arguments: Mapping[str, object]
    file: Path | None
    settings: Settings
    data_dir: DataDir
    target: WeaveTarget | None
    timeout_s: float
    deliverable: bool
    """Nothing that was found so far keeps a call from W&B."""

    @property
    def online(self) -> bool:
        """Whether there is a key, and nothing in the way."""
        return self.deliverable and self.target is not None and self.target.api_key is not None


def examine(
    arguments: Mapping[str, object] | None = None,
    *,
    file: Path | None = None,
    probe: bool = True,
    timeout_s: float = 30.0,
) -> list[Finding]:
    """What there is to say of the whole way from a service here to W&B, in the order of the way.

    Args:
        arguments: settings, as `resolve` takes them.
        file: the file of settings.
        probe: send a span of our own through all of it, which makes one call in the project.
        timeout_s: how long that may take.
    """
    given = {name: value for name, value in (arguments or {}).items() if value is not None}
    try:
        resolved = resolve(given, file=file)
    except ConfigError as error:
        return [Finding("bad", "configuration", str(error), "`otel-wandb config show` lists all settings")]
    findings = [*_look_at_configuration(resolved), *_look_at_environment()]
    settings = resolved.settings
    target, found = _find_target(settings)
    data_dir = DataDir(Path(settings.data_dir))
    reached = [*found, *_look_at_wandb(target, settings)]
    deliverable = not any(finding.level == "bad" for finding in reached)
    patient = _Patient(given, file, settings, data_dir, target, timeout_s, deliverable)
    findings += [*reached, *_look_at_directory(patient)]
    if probe and _is_disabled():
        findings.append(Finding("note", "probe", "not sent, since OTEL_SDK_DISABLED is set"))
    elif probe and not any(finding.level == "bad" and finding.subject == "disk" for finding in findings):
        findings += [send(patient) for send in _PROBES]
    return findings + _look_at_ledger(patient)


def _look_at_configuration(resolved: Resolved) -> Iterator[Finding]:
    changed = {name: origin for name, origin in resolved.origin.items() if origin != "default"}
    yield Finding("good", "configuration", f"right; {len(changed)} settings differ from their defaults")
    for name, origin in changed.items():
        yield Finding("good", "configuration", f"{name} = {getattr(resolved.settings, name)} (from {origin})")


def _look_at_environment() -> Iterator[Finding]:
    """What OpenTelemetry's own variables forbid. They say it of this shell, and maybe of the service."""
    if _is_disabled():
        yield Finding("bad", "environment", "OTEL_SDK_DISABLED turns OpenTelemetry off", "unset it")
    exporters = os.environ.get("OTEL_TRACES_EXPORTER", "").strip()
    if exporters and "weave" not in [name.strip() for name in exporters.split(",")]:
        advice = f"set OTEL_TRACES_EXPORTER=weave, or {exporters},weave for both"
        says = f"OTEL_TRACES_EXPORTER={exporters} sends the spans elsewhere"
        yield Finding("note", "environment", says, advice)
    if os.environ.get("OTEL_TRACES_SAMPLER", "").strip().endswith("always_off"):
        yield Finding("bad", "environment", "OTEL_TRACES_SAMPLER drops every span", "unset it")


def _is_disabled() -> bool:
    return os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def _find_target(settings: Settings) -> tuple[WeaveTarget | None, list[Finding]]:
    try:
        target = WeaveTarget.find(settings)
    except (ConfigError, CredentialError) as error:
        return None, [Finding("bad", "key", str(error), "correct it; what is stored meanwhile is sent then")]
    if target.api_key is not None:
        return target, [Finding("good", "key", f"found in {target.key_origin}")]
    level: Level = "bad" if settings.mode == "online" else "note"
    return target, [Finding(level, "key", target.offline)]


def _look_at_wandb(target: WeaveTarget | None, settings: Settings) -> list[Finding]:
    if target is None or target.api_key is None:
        return []
    timeout_s = min(_ANSWER_S, settings.request_timeout_s)
    try:
        visit = Visit(target, target.api_key, timeout_s=timeout_s)
    except (OSError, ValueError) as error:
        return [Finding("bad", "network", f"connections cannot be set up: {error}", "look at proxy and TLS")]
    with visit:
        findings = []
        try:
            entity = visit.find_entity()
            findings.append(Finding("good", "W&B", f"{target.base_url} answers and takes the key"))
        except DeliveryError as error:
            return [_tell_refusal("W&B", target.base_url, error)]
        entity = target.entity or entity
        if not entity:
            advice = "set WANDB_ENTITY, or the project as entity/project"
            return [*findings, Finding("bad", "project", "the API key has no default entity", advice)]
        try:
            exists = visit.find_project(entity, settings.project)
        except DeliveryError as error:
            return [*findings, _tell_refusal("Weave", target.trace_url, error)]
        name = f"{entity}/{settings.project}"
        known = "is open to the key" if exists else "does not exist yet; the first span makes it"
        findings.append(Finding("good", "Weave", f"{target.trace_url} answers and takes the key"))
        return [*findings, Finding("good", "project", f"{name} {known}")]


def _tell_refusal(subject: str, url: str, error: DeliveryError) -> Finding:
    if isinstance(error, DeliveryRefused) and error.status in (401, 403):
        return Finding(
            "bad", subject, f"{url} refuses the key ({error.status})", "look up the key, entity and project"
        )
    if isinstance(error, DeliveryRefused):
        return Finding("bad", subject, str(error), "look at base_url and trace_url: is this W&B's API?")
    return Finding(
        "bad", subject, str(error), "look at network, proxy and firewall; nothing is lost meanwhile"
    )


def _look_at_directory(patient: _Patient) -> Iterator[Finding]:
    data_dir = patient.data_dir
    unusable = data_dir.writable()
    if unusable:
        advice = "set OTEL_WANDB_DIR to a writable directory on a local disk"
        yield Finding("bad", "disk", f"{unusable}; telemetry is kept in memory only", advice)
        return
    free_bytes = data_dir.free_bytes()
    text = f"{data_dir.path} can be written to; {free_bytes / (1 << 30):.1f} GiB are free"
    if free_bytes < _LOW_DISK_BYTES:
        yield Finding("bad", "disk", text, "make room: a full disk refuses telemetry")
    else:
        yield Finding("good", "disk", text)


def _probe_span(patient: _Patient) -> Finding:
    """Send a span, and read it back: online from Weave, offline from the store."""
    subject = "probe span"
    sent = send_span(
        patient.arguments,
        patient.file,
        patient.data_dir,
        timeout_s=patient.timeout_s,
        deliverable=patient.deliverable,
    )
    name = f"{sent.span_id} of trace {sent.trace_id}"
    if not find_in_store(patient.data_dir, sent):
        advice = f"look into {patient.data_dir.log}"
        return Finding(
            "bad", subject, f"{name} did not come out of the bridge in {sent.took_s:.0f} s", advice
        )
    target = patient.target
    if target is None or target.api_key is None or not patient.deliverable:
        return _tell_stored(patient, subject, name)
    if not sent.settled:
        says = f"{name} is stored but was not delivered within {patient.timeout_s:g} s"
        return Finding("bad", subject, says, read_status(patient.data_dir).bridge_sentence)
    try:
        with Visit(target, target.api_key, timeout_s=_ANSWER_S) as visit:
            entity, project = target.entity or visit.find_entity(), patient.settings.project
            there = visit.wait_for_call(entity, project, sent.span_id, timeout_s=patient.timeout_s)
    except DeliveryError as error:
        return _tell_refusal(subject, target.trace_url, error)
    if not there:
        says = f"Weave took {name}, but does not show it in {entity}/{project}"
        return Finding("bad", subject, says, "ask the operator of this W&B server")
    return Finding("good", subject, f"{name} was read back from {entity}/{project} ({sent.took_s:.1f} s)")


def _tell_stored(patient: _Patient, subject: str, name: str) -> Finding:
    """What there is to say of a probe that goes no further than the store."""
    if patient.deliverable:
        return Finding("good", subject, f"{name} went the whole way into the local store")
    says = f"{name} is stored and waits, since W&B is out of reach"
    return Finding("note", subject, says, "see above; it is sent as soon as that is right")


def _probe_metric(patient: _Patient) -> Finding:
    """Send a data point, and wait for its row: online until W&B's history shows it, offline for the store."""
    subject = "probe metric"
    row, took_s = send_metric(
        patient.arguments,
        patient.file,
        patient.data_dir,
        settings=patient.settings,
        timeout_s=patient.timeout_s,
        deliverable=patient.online,
    )
    if row is None:
        settings = patient.settings
        until_s = settings.interval_s + settings.lateness_s
        says = f"no row came out of the bridge in {took_s:.0f} s"
        advice = f"if a probe was sent just before, try again in {until_s:.0f} s; else look into "
        return Finding("bad", subject, says, f"{advice}{patient.data_dir.log}")
    name = f"step {row.step} of run {row.run_id}"
    if not patient.online:
        return _tell_stored(patient, subject, name)
    if row.state == "rejected":
        return Finding("bad", subject, f"W&B did not take {name}", f"look into {patient.data_dir.log}")
    if row.state == "waiting":
        says = f"{name} is stored but was not seen in W&B within {patient.timeout_s:g} s"
        return Finding("bad", subject, says, read_status(patient.data_dir).bridge_sentence)
    return Finding("good", subject, f"{name} is in the history of {row.project} ({took_s:.1f} s)")


_PROBES: Final[tuple[Callable[[_Patient], Finding], ...]] = (_probe_span, _probe_metric)
"""One for each way through the bridge."""


def _look_at_ledger(patient: _Patient) -> list[Finding]:
    """What the bridge does and what has become of everything so far."""
    if not patient.data_dir.path.is_dir():
        return []
    try:
        status = read_status(patient.data_dir, patient.settings)
    except StoreError as error:
        return [Finding("bad", "store", str(error), "the next start of a bridge repairs it")]
    return [_tell_bridge(status), *_tell_losses(status)]


def _tell_bridge(status: Status) -> Finding:
    frozen = status.silent_s is not None and status.silent_s > _FROZEN_AFTER_S
    return Finding("bad" if frozen else "good", "bridge", status.bridge_sentence)


def _tell_losses(status: Status) -> Iterator[Finding]:
    for signal, line in status.ledger.lines.items():
        lost = [f"{n} {reason}" for reasons in (line.dropped, line.rejected) for reason, n in reasons.items()]
        if lost:
            yield Finding("note", "ledger", f"of {line.received} {signal} were not taken: {', '.join(lost)}")
    if status.dead_letters:
        says = f"{status.dead_letters} calls were refused by W&B for good"
        yield Finding("note", "ledger", says, "`otel-wandb status --json` and bridge.log say why")
