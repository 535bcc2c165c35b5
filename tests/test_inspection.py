"""The first look at a request says what the bridge will say of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_wandb.errors import InputError
from otel_wandb.ingest.decoded import INVALID_SPAN_ID, INVALID_TRACE_ID
from otel_wandb.ingest.inspection import Inspection, inspect_request
from otel_wandb.ingest.otlp import AnyDecoded, decode
from otel_wandb.journal import Codec, Kind
from tests.otlp_samples import Request, attributes, span, to_document, to_json, traces
from tests.otlp_strategies import requests
from tests.test_otlp_fuzz import JSON, PROTOBUF

SIZED = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def decoded(kind: Kind, payload: bytes) -> AnyDecoded | None:
    try:
        return decode(kind, Codec.PLAIN, payload)
    except InputError:
        return None


def inspected(kind: Kind, payload: bytes) -> Inspection | None:
    try:
        return inspect_request(kind, payload)
    except InputError:
        return None


def check(kind: Kind, payload: bytes) -> None:
    found, seen = decoded(kind, payload), inspected(kind, payload)
    assert (found is None) == (seen is None)
    if found is None or seen is None:
        return
    assert seen.items == found.items
    if seen.rejected:
        assert seen.rejected == found.rejected
    else:  # only what is deep inside is left to the bridge
        assert not found.rejected.keys() & {INVALID_TRACE_ID, INVALID_SPAN_ID}


@SIZED
@given(requests)
def test_requests(request: Request) -> None:
    check(PROTOBUF[type(request)], request.SerializeToString())
    check(JSON[type(request)], to_json(request))


@pytest.mark.parametrize("kinds", [PROTOBUF, JSON])
@settings(SIZED, max_examples=150)
@given(request=requests, data=st.data())
def test_mutated_requests(kinds: dict[type[Request], Kind], request: Request, data: st.DataObject) -> None:
    encode: Callable[[Request], bytes] = to_json if kinds is JSON else lambda sent: sent.SerializeToString()
    payload = bytearray(encode(request))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(payload)))
        until = data.draw(st.integers(at, min(len(payload), at + 4)))
        payload[at:until] = data.draw(st.binary(max_size=4))
    check(data.draw(st.sampled_from([*kinds.values()])), bytes(payload))


@pytest.mark.parametrize("kinds", [PROTOBUF, JSON])
@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"trace_id": bytes(16)}, INVALID_TRACE_ID),
        ({"trace_id": b"short"}, INVALID_TRACE_ID),
        ({"span_id": bytes(8)}, INVALID_SPAN_ID),
        ({"span_id": b""}, INVALID_SPAN_ID),
    ],
)
def test_spans_that_can_never_be_taken(
    kinds: dict[type[Request], Kind], fields: dict[str, Any], reason: str
) -> None:
    request = traces(span(), span(**fields), span())
    payload = to_json(request) if kinds is JSON else request.SerializeToString()
    assert inspect_request(kinds[type(request)], payload) == Inspection(3, {reason: 1})


def test_a_resource_that_cannot_be_read_takes_the_request_with_it() -> None:
    """As in the bridge: nothing is known of whose spans they are."""
    document = to_document(traces(span()))
    nested: object = {"stringValue": "x"}
    for _ in range(200):
        nested = {"arrayValue": {"values": [nested]}}
    document["resourceSpans"][0]["resource"]["attributes"] = [{"key": "deep", "value": nested}]
    check(Kind.OTLP_TRACES_JSON, msgspec.json.encode(document))


def test_what_is_deep_inside_is_left_to_the_bridge() -> None:
    events = [{"timeUnixNano": str(2**63)}]
    document = to_document(traces(span(attributes=attributes({"n": 1}))))
    document["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["events"] = events
    payload = msgspec.json.encode(document)
    assert inspect_request(Kind.OTLP_TRACES_JSON, payload) == Inspection(1, {})
    assert decode(Kind.OTLP_TRACES_JSON, Codec.PLAIN, payload).rejected == {"invalid_time": 1}
