"""Reads back from W&B which rows of a run it has, the only thing that confirms one; and raises its alerts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, cast

import msgspec

from otel_wandb.delivery.credentials import Secret
from otel_wandb.delivery.weave_http import WeaveClient
from otel_wandb.errors import DeliveryRetryable

_TABLE: Final = "table-file"
_PAGE_STEPS: Final = 1000
"""A page of more rows than this would be sampled by the server, and each step has one row at most."""

# The queries of wandb 0.31, so that whatever answers wandb answers us.
_HISTORY: Final = """query HistoryPage(
    $entity: String!, $project: String!, $run: String!, $minStep: Int64!, $maxStep: Int64!, $pageSize: Int!
) {
    project(name: $project, entityName: $entity) {
        run(name: $run) { history(minStep: $minStep, maxStep: $maxStep, samples: $pageSize) }
    }
}"""
_TAIL: Final = """query RunResumeStatus($project: String, $entity: String, $name: String!) {
    model(name: $project, entityName: $entity) {
        bucket(name: $name, missingOk: true) { id historyLineCount historyTail }
    }
}"""

_FILES: Final = """query RunFiles(
    $entity: String!, $project: String!, $run: String!, $names: [String], $limit: Int
) {
    project(name: $project, entityName: $entity) {
        run(name: $run) { files(names: $names, first: $limit) { edges { node { name sizeBytes } } } }
    }
}"""
_ALERT: Final = """mutation NotifyScriptableRunAlert(
    $entityName: String!, $projectName: String!, $runName: String!, $title: String!, $text: String!,
    $severity: AlertSeverity = INFO, $waitDuration: Duration
) {
    notifyScriptableRunAlert(input: {
        entityName: $entityName, projectName: $projectName, runName: $runName, title: $title, text: $text,
        severity: $severity, waitDuration: $waitDuration
    }) { success }
}"""


class Place(NamedTuple):
    """A run as W&B addresses it."""

    entity: str
    project: str
    run_id: str


class Arrived(NamedTuple):
    """The steps of which a run has a row. Of a `torn` one it lacks files that the row refers to."""

    whole: frozenset[int]
    torn: frozenset[int]


class _Step(msgspec.Struct):
    step: int = msgspec.field(default=-1, name="_step")


class _File(msgspec.Struct):
    """What a row says of a file, such as that of a table."""

    path: str
    size: int


class WandbApi(WeaveClient):
    """The questions about runs that delivery asks of W&B's GraphQL; see `WeaveClient` for what is raised."""

    def last_step(self, key: Secret, place: Place) -> int | None:
        """The step of the youngest row that the run has, -1 where it has none; None: there is no such run.

        This is what a client that takes the run up goes by: it takes only later steps.
        """
        variables = {"entity": place.entity, "project": place.project, "name": place.run_id}
        match self._ask_run(key, _TAIL, variables):
            case {"model": {"bucket": {"historyTail": str(tail)}}}:
                return max((_step_of(line) for line in _lines_of(tail)), default=-1)
            case {"model": None | {"bucket": None}}:
                return None
        raise DeliveryRetryable(f"W&B did not tell where the run {'/'.join(place)} stands")

    def steps(self, key: Secret, place: Place, first: int, last: int) -> frozenset[int]:
        """The steps from `first` to `last` of which the run has a row with all that belongs to it."""
        return self.arrived(key, place, first, last).whole

    def arrived(self, key: Secret, place: Place, first: int, last: int) -> Arrived:
        """The steps from `first` to `last` of which the run has a row."""
        found: dict[int, list[_File]] = {}
        for start in range(first, last + 1, _PAGE_STEPS):
            end = min(start + _PAGE_STEPS, last + 1)
            named = {"entity": place.entity, "project": place.project, "run": place.run_id}
            page = {"minStep": start, "maxStep": end, "pageSize": _PAGE_STEPS}
            match self._ask_run(key, _HISTORY, {**named, **page}):
                case {"project": {"run": {"history": list(lines)}}}:
                    found.update((_step_of(line), _files_of(line)) for line in lines)
                case {"project": None | {"run": None}}:
                    return Arrived(frozenset(), frozenset())
                case _:
                    raise DeliveryRetryable(f"W&B did not tell what the run {'/'.join(place)} has")
        here = {step: files for step, files in found.items() if first <= step <= last}
        wanted = [file.path for files in here.values() for file in files]
        sizes = self._sizes(key, place, wanted) if wanted else {}
        torn = {step for step, files in here.items() if any(sizes.get(f.path) != f.size for f in files)}
        return Arrived(frozenset(here.keys() - torn), frozenset(torn))

    def alert(self, key: Secret, place: Place, title: str, text: str, level: str, *, wait_s: float) -> None:
        """Raise an alert of the run, as `run.alert` does, and return when W&B has taken it.

        W&B drops a title that it had less than `wait_s` before.
        """
        named = {"entityName": place.entity, "projectName": place.project, "runName": place.run_id}
        told = {"title": title, "text": text, "severity": level.upper()}
        match self._ask_run(key, _ALERT, {**named, **told, "waitDuration": max(1, int(wait_s * 1000))}):
            case {"notifyScriptableRunAlert": {"success": True}}:
                return
        raise DeliveryRetryable(f"W&B did not take an alert of the run {'/'.join(place)}")

    def _sizes(self, key: Secret, place: Place, names: Sequence[str]) -> dict[str, int]:
        """The sizes of those of the files that the run has, in bytes."""
        named = {"entity": place.entity, "project": place.project, "run": place.run_id}
        match self._ask_run(key, _FILES, {**named, "names": list(names), "limit": len(names)}):
            case {"project": {"run": {"files": {"edges": list(edges)}}}}:
                nodes = msgspec.convert(edges, list[_Edge], strict=False)
                return {edge.node.name: edge.node.size for edge in nodes}
        raise DeliveryRetryable(f"W&B did not tell what files the run {'/'.join(place)} has")

    def _ask_run(self, key: Secret, query: str, variables: Mapping[str, object]) -> dict[str, object]:
        return self._ask_app(key, query, cast("Mapping[str, str]", variables))  # any JSON will do


class _Node(msgspec.Struct):
    name: str
    size: int = msgspec.field(default=0, name="sizeBytes")


class _Edge(msgspec.Struct):
    node: _Node


def _files_of(line: object) -> list[_File]:
    """The files of tables that a row refers to."""
    if not isinstance(line, str) or _TABLE not in line:
        return []
    values = msgspec.json.decode(line, type=dict[str, object]).values()
    tables = [value for value in values if isinstance(value, dict) and value.get("_type") == _TABLE]
    return [msgspec.convert(table, _File, strict=False) for table in tables if "path" in table]


def _lines_of(tail: str) -> list[object]:
    try:
        return msgspec.json.decode(tail, type=list[object])
    except msgspec.DecodeError:
        return []


def _step_of(line: object) -> int:
    try:
        return msgspec.json.decode(line, type=_Step).step if isinstance(line, str) else -1
    except msgspec.DecodeError:
        return -1
