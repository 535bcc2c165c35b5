"""Two spans of one model call that are not inside each other: side by side in a trace, or in two traces.

A client's span beside that of the framework above it, a proxy's or a server's beside the client's. They are
joined by the id of the response, and only where they ran at the same time, go to the same project, and tell
of the same tokens. Where one of them tells no id, as frameworks do of streams, its answer stands for it: then
they must also be of two instrumentations in one process, one wholly within the time of the other; nothing
weaker counts. Of those that are known together the one that began last is the
inner one and counts, completed by what the others know in more detail; of two that come one after the other,
the first has been given out and counts. The others tell of their tokens in `attributes.reported_usage`.

Pure: what is remembered of the calls of late is in states, which the caller stores with the calls.
"""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Final, Protocol, TypeAlias

import msgspec

from otel_wandb.conventions.decoding import encode_text, parse
from otel_wandb.records import Resource
from otel_wandb.traces.finished import Placed
from otel_wandb.traces.node import Node, Place
from otel_wandb.traces.usage import agree, complete_usage

_log = logging.getLogger("otel_wandb.traces")

_STATE: Final = "model_calls/"
_CALLS_A_STATE: Final = 64
_STATES: Final = 512
_MAX_LOOKS: Final = 16  # some servers give all responses the same id
_CLOCKS_DIFFER_NS: Final = 5_000_000_000
_CLOCK: Final = ("host.id", "host.name", "service.name", "service.instance.id", "process.pid")
_TOKENS: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "reasoning_tokens",
)

ProjectOf: TypeAlias = Callable[[Placed], tuple[str, str]]
IsSame: TypeAlias = "Callable[[ModelCall, ModelCall], bool]"


class ModelCall(msgspec.Struct, array_like=True, gc=False):
    """What is remembered of a call that counts its tokens; names are hashed."""

    response: int
    project: int
    clock: int
    start_ns: int
    end_ns: int
    tokens: dict[str, int]
    trace_id: str
    span_id: str
    at_most: bool = False
    """Some of its output tokens may be told twice."""
    scope: int = 0
    tells_id: bool = True
    """Whether it is known by the id of its response; else by its answer."""


class Known(Protocol):
    """What is known of the model calls that were given out before."""

    def find(self, call: ModelCall, is_same: IsSame) -> ModelCall | None:
        """An earlier span of the same call."""
        ...

    def add(self, call: ModelCall) -> None:
        """Remember a call that counts its tokens."""
        ...


class Lookups:
    """Stands for what is known where that is not at hand: finds nothing, and notes what was asked and told.

    `find_contested` tells whether the answers were right.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[ModelCall, bool]] = []
        """Each with whether only an answer stands for it."""
        self.told: list[ModelCall] = []

    def find(self, call: ModelCall, is_same: IsSame) -> ModelCall | None:
        """Nothing."""
        self.asked.append((call, is_same is not _is_same))
        return None

    def add(self, call: ModelCall) -> None:
        """Note the call."""
        self.told.append(call)


class _Page(msgspec.Struct, array_like=True):
    """A state: some calls, and which of all there ever were the first of them is."""

    first: int
    calls: list[ModelCall]


class ModelCalls:
    """The model calls of late, the youngest 32,000. Not thread-safe."""

    def __init__(self) -> None:
        self._by_response: dict[int, list[ModelCall]] = {}
        self._pages: deque[_Page] = deque([_Page(0, [])])
        self._changed: dict[int, _Page] = {}

    def restore(self, states: Iterable[tuple[str, bytes]]) -> None:
        """Take up what an earlier bridge had stored. What cannot be read is logged and left out."""
        pages = []
        for name, state in states:
            if name.startswith(_STATE):
                try:
                    pages.append(_decode_page(state))
                except msgspec.MsgspecError as error:
                    _log.warning("The state %s cannot be read (%s); it is left out.", name, error)
        if pages:
            self._pages = deque(sorted(pages, key=lambda page: page.first))
            for page in self._pages:
                for call in page.calls:
                    self._by_response.setdefault(call.response, []).append(call)

    def take_states(self) -> list[tuple[str, bytes]]:
        """What `restore` needs, stored in the transaction of the calls."""
        changed, self._changed = self._changed, {}
        return [(f"{_STATE}{_slot(page)}", _encode(page)) for page in changed.values()]

    def find(self, call: ModelCall, is_same: IsSame | None = None) -> ModelCall | None:
        """An earlier span of the same call."""
        is_same = is_same or _is_same
        known = reversed(self._by_response.get(call.response, ()))
        return next((other for other in islice(known, _MAX_LOOKS) if is_same(call, other)), None)

    def add(self, call: ModelCall) -> None:
        """Remember a call that counts its tokens."""
        page = self._pages[-1]
        if len(page.calls) >= _CALLS_A_STATE:
            page = _Page(page.first + _CALLS_A_STATE, [])
            self._pages.append(page)
            if len(self._pages) > _STATES:
                self._forget(self._pages.popleft())
        page.calls.append(call)
        self._changed[_slot(page)] = page
        self._by_response.setdefault(call.response, []).append(call)

    def _forget(self, page: _Page) -> None:
        for call in page.calls:
            known = self._by_response[call.response]
            known.pop(0)  # the oldest of all is the oldest of its id
            if not known:
                del self._by_response[call.response]


def join_calls(nodes: Sequence[Node], project_of: ProjectOf, known: Known | None = None) -> None:
    """Leaves the tokens of each model call on one of its spans.

    `nodes` are the spans of traces that are given out together; what is `known` was given out before.
    """
    by_response: dict[str, list[Node]] = {}
    for node in nodes:
        if node.usage is not None and node.facts.response_id:
            by_response.setdefault(node.facts.response_id, []).append(node)
    for response_id, twins in by_response.items():
        if known is None and len(twins) == 1:
            continue
        _join_twins(twins, hash_id(response_id), project_of, known, _is_same)
    _join_by_answers(nodes, project_of, known)


def _join_by_answers(nodes: Sequence[Node], project_of: ProjectOf, known: Known | None) -> None:
    """The same for calls of which a span tells no id, as far as answers are told."""
    spent = [node for node in nodes if node.usage is not None and node.kind == "chat"]
    blind = {node.span.trace_id for node in spent if not node.facts.response_id}
    by_answer: dict[int, list[Node]] = {}
    for node in spent:
        # Of one that tells its id only a root is looked for later: what has a parent comes with it.
        is_wanted = node.span.trace_id in blind or (known is not None and not node.span.parent_id)
        if is_wanted and (answer := _answer_of(node)):
            by_answer.setdefault(answer, []).append(node)
    for answer, twins in by_answer.items():
        if known is not None or len(twins) > 1:
            _join_twins(twins, answer, project_of, known, _is_same_answer)


def _join_twins(
    twins: list[Node], key: int, project_of: ProjectOf, known: Known | None, is_same: IsSame
) -> None:
    kept: list[tuple[ModelCall, Node]] = []
    twins.sort(key=lambda node: (-node.span.start_ns, node.span.end_ns))  # the inner one begins last
    for node in twins:
        call = _describe(node, key, project_of)
        earlier = known.find(call, is_same) if known is not None else None
        if earlier is not None:
            node.disown(Place(earlier.trace_id, earlier.span_id))
            node.repeats = call.clock == earlier.clock
            continue
        inner = next((pair for pair in kept if is_same(call, pair[0])), None)
        if inner is None or inner[1].usage is None or node.usage is None:
            kept.append((call, node))
        else:
            complete_usage(inner[1].usage, node.usage)
            inner[0].tokens = _tokens_of(inner[1].usage)
            node.disown(inner[1].place)
            node.repeats = call.clock == inner[0].clock
    if known is not None:
        for call, node in kept:
            if is_same is _is_same or not (call.tells_id and node.span.parent_id):
                known.add(call)


def _describe(node: Node, response: int, project_of: ProjectOf) -> ModelCall:
    span = node.span
    return ModelCall(
        response,
        _hash_name("/".join(project_of(node.placed))),
        _clock_of(node.placed.resource),
        span.start_ns,
        span.end_ns,
        _tokens_of(node.usage or {}),
        span.trace_id,
        span.span_id,
        node.facts.counts_starts_twice is True,
        _hash_name(node.placed.scope.name),
        bool(node.facts.response_id),
    )


def _answer_of(node: Node) -> int:
    """What stands for what the model said: its text, or the tools that it called; 0 where it is not told."""
    message = node.facts.choices[0].get("message") if node.facts.choices else None
    if not isinstance(message, dict):
        return 0
    content, calls = message.get("content"), message.get("tool_calls")
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    told = [content or "", _calls_in(calls)]
    return hash_id(encode_text(told)) if any(told) else 0


def _calls_in(calls: object) -> list[object]:
    functions = [call.get("function") for call in calls or () if isinstance(call, dict)]  # type: ignore[attr-defined]  # a list, or not read
    return [[f.get("name"), parse(f.get("arguments"))] for f in functions if isinstance(f, dict)]


def find_contested(lookups: Sequence[Lookups], known: ModelCalls) -> set[int]:
    """Which of the traces that were looked at apart may share a model call, with each other or what is known.

    Those have to be joined together; of all others the lookups were right.
    """
    contested: set[int] = set()
    asked: dict[tuple[int, bool], list[tuple[int, ModelCall]]] = {}
    for number, one in enumerate(lookups):
        for call, by_answer in one.asked:
            if known.find(call, _may_be_same_answer if by_answer else _may_be_same) is not None:
                contested.add(number)
            asked.setdefault((call.response, by_answer), []).append((number, call))
    for (_, by_answer), same in asked.items():
        may_be_same = _may_be_same_answer if by_answer else _may_be_same
        same.sort(key=lambda item: item[1].start_ns)
        for place, (number, call) in enumerate(same):
            for other_number, other in same[place + 1 : place + 1 + _MAX_LOOKS]:
                if number != other_number and may_be_same(call, other):
                    contested |= {number, other_number}
    return contested


def _may_be_same(one: ModelCall, other: ModelCall) -> bool:
    """The same but for the tokens, which the other spans of a trace may complete."""
    slack_ns = 0 if one.clock == other.clock else _CLOCKS_DIFFER_NS
    return (
        one.start_ns <= other.end_ns + slack_ns
        and other.start_ns <= one.end_ns + slack_ns
        and one.project == other.project
        and one.span_id != other.span_id
    )


def _may_be_same_answer(one: ModelCall, other: ModelCall) -> bool:
    return (
        one.scope != other.scope
        and one.clock == other.clock
        and not (one.tells_id and other.tells_id)
        and _may_be_same(one, other)
    )


def _is_same(one: ModelCall, other: ModelCall) -> bool:
    return _may_be_same(one, other) and (
        agree(one.tokens, other.tokens) or _exceeds(one, other) or _exceeds(other, one)
    )


def _is_same_answer(one: ModelCall, other: ModelCall) -> bool:
    outer, inner = (one, other) if one.start_ns <= other.start_ns else (other, one)
    return inner.end_ns <= outer.end_ns and _may_be_same_answer(one, other) and _is_same(one, other)


def _exceeds(loose: ModelCall, exact: ModelCall) -> bool:
    """Whether the one may tell of the tokens of the other, some of its output twice."""
    more, tokens = loose.tokens, exact.tokens
    return (
        loose.at_most
        and more.get("input_tokens") == tokens.get("input_tokens")
        and more.get("output_tokens", 0) > tokens.get("output_tokens", 0) > 0
    )


def _clock_of(resource: Resource) -> int:
    """The same for spans of one process, whose times can be compared."""
    values = (resource.attributes.get(name) for name in _CLOCK)
    return _hash_name("\0".join(str(value) if isinstance(value, str | int) else "" for value in values))


def _tokens_of(usage: Mapping[str, int]) -> dict[str, int]:
    return {name: usage[name] for name in _TOKENS if name in usage}


def hash_id(text: str) -> int:
    """64 bits that stand for an id in what is remembered; never zero."""
    digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True) or 1


_hash_name = lru_cache(maxsize=1024)(hash_id)


def _slot(page: _Page) -> int:
    return page.first // _CALLS_A_STATE % _STATES


_encode = msgspec.msgpack.Encoder().encode
_decode_page = msgspec.msgpack.Decoder(_Page).decode
