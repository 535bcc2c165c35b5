"""Reads back from W&B which rows of a run it has: the only thing that confirms one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple, cast

import msgspec

from otel_wandb.delivery.credentials import Secret
from otel_wandb.delivery.weave_http import WeaveClient
from otel_wandb.errors import DeliveryRetryable

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


class Place(NamedTuple):
    """A run as W&B addresses it."""

    entity: str
    project: str
    run_id: str


class _Step(msgspec.Struct):
    step: int = msgspec.field(default=-1, name="_step")


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
        """The steps from `first` to `last` of which the run has a row."""
        found: set[int] = set()
        for start in range(first, last + 1, _PAGE_STEPS):
            end = min(start + _PAGE_STEPS, last + 1)
            named = {"entity": place.entity, "project": place.project, "run": place.run_id}
            page = {"minStep": start, "maxStep": end, "pageSize": _PAGE_STEPS}
            match self._ask_run(key, _HISTORY, {**named, **page}):
                case {"project": {"run": {"history": list(lines)}}}:
                    found.update(_step_of(line) for line in lines)
                case {"project": None | {"run": None}}:
                    return frozenset()
                case _:
                    raise DeliveryRetryable(f"W&B did not tell what the run {'/'.join(place)} has")
        return frozenset(step for step in found if first <= step <= last)

    def _ask_run(self, key: Secret, query: str, variables: Mapping[str, object]) -> dict[str, object]:
        return self._ask_app(key, query, cast("Mapping[str, str]", variables))  # any JSON will do


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
