"""A client for the few requests that delivery makes of W&B, over bodies that are encoded already.

What an answer means is decided here, once, and told by the exception that is raised: nothing for "taken",
`DeliveryRetryable` for "not taken now", `DeliveryAmbiguous` for "nobody knows", `DeliveryPermanent` for "this
content will never be taken" and `DeliveryRefused` for "nothing will be taken from you here".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple
from urllib.parse import quote

import httpx
import msgspec
from opentelemetry.instrumentation.utils import suppress_instrumentation

from otel_wandb import __version__
from otel_wandb.delivery.credentials import Secret, WeaveTarget
from otel_wandb.delivery.pacing import read_retry_after
from otel_wandb.errors import (
    DeliveryAmbiguous,
    DeliveryPermanent,
    DeliveryRefused,
    DeliveryRetryable,
)
from otel_wandb.metrics.intervals import SECOND_NS

_CONNECT_TIMEOUT_S: Final = 10.0
_CONNECTIONS: Final = 8
_IDS_A_READ: Final = 500
_ANSWER_CHARACTERS: Final = 2000

_TOO_LARGE: Final = 413
_OF_THE_CONTENT: Final = frozenset({400, 409, 411, 414, 415, 416, 417, 422, 423, 424, 428, 431})
_NOT_TAKEN: Final = frozenset({408, 425, 429, 503})
_NOT_IMPLEMENTED: Final = 501

# The queries of weave 0.54, so that whatever answers weave answers us.
_PROJECT: Final = """query Project($name: String!, $entityName: String!) {
    project(name: $name, entityName: $entityName) { name }
}"""
_UPSERT_PROJECT: Final = """mutation UpsertModel($name: String!, $entity: String!) {
    upsertModel(input: { name: $name, entityName: $entity }) { model { name } }
}"""
_DEFAULT_ENTITY: Final = """query DefaultEntity {
    viewer { username defaultEntity { name } }
}"""


class WeaveCost(NamedTuple):
    """A price that a project has for a model, in USD a token, in force from that time on."""

    model: str
    from_ns: int
    input: float
    output: float
    cache_read: float
    cache_write: float


class WeaveClient:
    """HTTP to one W&B deployment. Threads may share it; it follows no redirects and keeps no key."""

    def __init__(self, target: WeaveTarget, *, timeout_s: float) -> None:
        self.trace_url = target.trace_url
        self._base_url = target.base_url
        self._http = httpx.Client(
            headers={"User-Agent": f"otel-wandb/{__version__}", "Accept": "application/json"},
            timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, _CONNECT_TIMEOUT_S)),
            limits=httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS),
            proxy=target.proxy or None,
            verify=target.verify_tls,
            follow_redirects=False,
        )

    def close(self) -> None:
        """Close all connections; requests under way fail."""
        self._http.close()

    def post_calls(self, key: Secret, entity: str, project: str, body: bytes) -> None:
        """Return when the batch of complete calls in `body` was taken; raise what else became of it."""
        url = f"{self.trace_url}/v2/{quote(entity, safe='')}/{quote(project, safe='')}/calls/complete"
        self._post_batch(url, key, body)

    def read_back(self, key: Secret, project_id: str, call_ids: Sequence[str]) -> frozenset[str]:
        """Those of the calls that Weave has.

        Raises:
            DeliveryRetryable: it cannot be told now.
            DeliveryRefused: the key or the project is refused.
        """
        found: set[str] = set()
        for start in range(0, len(call_ids), _IDS_A_READ):
            asked = list(call_ids[start : start + _IDS_A_READ])
            query = {"project_id": project_id, "filter": {"call_ids": asked}, "columns": ["id"]}
            response = self._ask(f"{self.trace_url}/calls/stream_query", key, query)
            for line in response.content.splitlines():
                match _decode(line):
                    case {"id": str(call_id)}:
                        found.add(call_id)
                    case _:
                        raise DeliveryRetryable(f"reading back from {project_id}: not a call: {line[:80]!r}")
        return frozenset(found)

    def post_feedback(self, key: Secret, body: bytes) -> None:
        """Return when the batch of feedback in `body` was taken; raise what else became of it."""
        url = f"{self.trace_url}/feedback/batch/create"
        self._post_batch(url, key, body)

    def find_feedback(self, key: Secret, project_id: str, ids: Sequence[str]) -> frozenset[str]:
        """Those pieces of feedback that Weave has. Raises as `read_back`."""
        found: set[str] = set()
        url = f"{self.trace_url}/feedback/query"
        for start in range(0, len(ids), _IDS_A_READ):
            asked = [{"$literal": one} for one in ids[start : start + _IDS_A_READ]]
            query = {"$expr": {"$in": [{"$getField": "id"}, asked]}}
            question = {"project_id": project_id, "fields": ["id"], "query": query}
            match _decode(self._ask(url, key, question).content):
                case {"result": list(rows)}:
                    found.update(str(row["id"]) for row in rows if isinstance(row, dict) and "id" in row)
                case _:
                    raise DeliveryRetryable(f"{url} did not answer with feedback")
        return frozenset(found)

    def find_object(self, key: Secret, project_id: str, name: str) -> str:
        """The digest of the latest object of this name in the project; empty if there is none."""
        url = f"{self.trace_url}/objs/query"
        wanted = {"object_ids": [name], "is_op": False, "latest_only": True}
        question = {"project_id": project_id, "filter": wanted, "limit": 1, "metadata_only": True}
        match _decode(self._ask(url, key, question).content):
            case {"objs": [{"digest": str(digest)}, *_]}:
                return digest
            case {"objs": []}:
                return ""
        raise DeliveryRetryable(f"{url} did not answer with objects")

    def make_object(self, key: Secret, project_id: str, name: str, value: Mapping[str, object]) -> str:
        """The digest of the object, which is published; the same value again is the same object."""
        url = f"{self.trace_url}/obj/create"
        made = {"obj": {"project_id": project_id, "object_id": name, "val": value}}
        match _decode(self._ask(url, key, made).content):
            case {"digest": str(digest)}:
                return digest
        raise DeliveryRetryable(f"{url} did not answer with a digest")

    def find_costs(self, key: Secret, project_id: str, models: Sequence[str]) -> list[WeaveCost]:
        """The prices that were written for these models in the project. Raises as `read_back`."""
        found: list[WeaveCost] = []
        url = f"{self.trace_url}/cost/query"
        for start in range(0, len(models), _IDS_A_READ):
            asked = [{"$literal": model} for model in models[start : start + _IDS_A_READ]]
            query = {"$expr": {"$in": [{"$getField": "llm_id"}, asked]}}
            answer = self._ask(url, key, {"project_id": project_id, "query": query}).content
            try:
                found += [cost.plain() for cost in msgspec.json.decode(answer, type=_Costs).results]
            except (msgspec.MsgspecError, UnicodeDecodeError, OverflowError):
                raise DeliveryRetryable(f"{url} did not answer with costs") from None
        return found

    def make_costs(self, key: Secret, project_id: str, costs: Mapping[str, Mapping[str, object]]) -> None:
        """Write prices, by model; new ones each time, so look for them first. Raises as `post_calls`."""
        body = msgspec.json.encode({"project_id": project_id, "costs": costs})
        self._post_batch(f"{self.trace_url}/cost/create", key, body)

    def _post_batch(self, url: str, key: Secret, body: bytes) -> None:
        response = self._post(url, key, body)
        _raise_for_status(response)
        if not isinstance(_decode(response.content), dict):
            raise DeliveryAmbiguous(f"{url} answered {response.status_code}, but not with JSON")

    def ensure_project(self, key: Secret, entity: str, project: str) -> str:
        """The name of the project, which is made if it does not exist, as `weave.init` would.

        Raises:
            DeliveryRetryable: it cannot be told now.
            DeliveryRefused: the entity may not be read, or not be given projects.
        """
        known = self._ask_app(key, _PROJECT, {"name": project, "entityName": entity})
        match known:
            case {"project": {"name": str(name)}}:
                return name
        match self._ask_app(key, _UPSERT_PROJECT, {"name": project, "entity": entity}):
            case {"upsertModel": {"model": {"name": str(name)}}}:
                return name
        raise DeliveryRefused(f"W&B did not make the project {entity}/{project}", status=200, answer="")

    def default_entity(self, key: Secret) -> str:
        """The entity that W&B puts things under when none is named; empty if the key has none."""
        match self._ask_app(key, _DEFAULT_ENTITY, {}):
            case {"viewer": {"defaultEntity": {"name": str(name)}}}:
                return name
        return ""

    def _ask_app(self, key: Secret, query: str, variables: Mapping[str, str]) -> dict[str, object]:
        url = f"{self._base_url}/graphql"
        answer = _decode(self._ask(url, key, {"query": query, "variables": variables}).content)
        match answer:
            case {"errors": [_, *_] as errors}:
                text = _cut("; ".join(_message_of(error) for error in errors))
                raise DeliveryRefused(f"W&B refused: {text}", status=200, answer=text)
            case {"data": dict(data)}:
                return data
        raise DeliveryRetryable(f"{url} did not answer like W&B's API")

    def _ask(self, url: str, key: Secret, question: object) -> httpx.Response:
        """The answer to a question that changes nothing by being asked twice."""
        try:
            response = self._post(url, key, msgspec.json.encode(question))
            _raise_for_status(response)
        except DeliveryAmbiguous as error:
            raise DeliveryRetryable(str(error)) from None
        except DeliveryPermanent as error:
            raise DeliveryRefused(str(error), status=error.status, answer=error.answer) from None
        return response

    def _post(self, url: str, key: Secret, body: bytes) -> httpx.Response:
        headers = {"Content-Type": "application/json", "Authorization": key.basic_authorization()}
        try:
            with suppress_instrumentation():  # a bridge in a thread must not trace itself
                return self._http.post(url, content=body, headers=headers)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError) as error:
            raise DeliveryRetryable(f"{url} cannot be reached: {_name(error)}") from None
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
            raise DeliveryRefused(f"{url} cannot be asked: {_name(error)}", status=0, answer="") from None
        except (httpx.HTTPError, RuntimeError) as error:  # RuntimeError: the client was closed meanwhile
            raise DeliveryAmbiguous(f"the answer of {url} was lost: {_name(error)}") from None


class _Cost(msgspec.Struct):
    llm_id: str
    effective_date: datetime
    prompt_token_cost: float | None = None
    completion_token_cost: float | None = None
    cache_read_input_token_cost: float | None = None
    cache_creation_input_token_cost: float | None = None

    def plain(self) -> WeaveCost:
        at = self.effective_date
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
        return WeaveCost(
            self.llm_id,
            int(at.timestamp()) * SECOND_NS,
            self.prompt_token_cost or 0.0,
            self.completion_token_cost or 0.0,
            self.cache_read_input_token_cost or 0.0,
            self.cache_creation_input_token_cost or 0.0,
        )


class _Costs(msgspec.Struct):
    results: list[_Cost]


def _raise_for_status(response: httpx.Response) -> None:
    status = response.status_code
    if 200 <= status < 300:
        return
    answer = _cut(response.text)
    message = f"{response.url} answered {status}: {answer}"
    if place := response.headers.get("location"):
        message += f" (it redirects to {place}; name that address instead)"
    if status in _NOT_TAKEN:
        raise DeliveryRetryable(message, retry_after_s=read_retry_after(response.headers))
    if status >= 500 and status != _NOT_IMPLEMENTED:
        raise DeliveryAmbiguous(message)
    # Weave says in JSON what is wrong with a call. A 400 in HTML is some proxy's, and says that the
    # address is wrong: no reason to give up a call.
    of_the_content = status in _OF_THE_CONTENT and isinstance(_decode(response.content), dict)
    kind: type[DeliveryPermanent | DeliveryRefused] = DeliveryRefused
    if of_the_content or status == _TOO_LARGE:
        kind = DeliveryPermanent
    raise kind(message, status=status, answer=answer)


def _decode(content: bytes) -> object:
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _message_of(error: object) -> str:
    match error:
        case {"message": str(message)}:
            return message
    return str(error)


def _name(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _cut(text: str) -> str:
    return text if len(text) <= _ANSWER_CHARACTERS else text[:_ANSWER_CHARACTERS] + "…"
