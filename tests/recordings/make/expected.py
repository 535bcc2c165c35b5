"""What a right conversion of a recording shows, from what the model server was asked and what it answered.

The telemetry is read for three things only: when each span ran (so which request was inside it), the span's
name (whose kind the producer's script declares), and whether a true value is in the telemetry at all. What is
not there stands under `not_in_telemetry`: a conversion must not make it up.
"""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import dataclass
from typing import Any, Final

from tests.recordings.make.answers import SNAPSHOTS, Answer, Call, Tokens
from tests.recordings.make.model_server import APIS
from tests.recordings.make.wire import call_id
from tests.recordings.scoring import PROVIDERS, finish_of
from tests.recordings.telemetry import Json, RecordedSpan

_SLACK_NS: Final = 2_000_000
_TOKENS: Final = r"tok|usage"
_API: Final = {api.name: api for api in APIS}


@dataclass(frozen=True)
class Truth:
    """One request to the model server and its answer, as facts."""

    start_ns: int
    embeds: bool
    facts: Json
    response_id: str

    @property
    def usage(self) -> dict[str, int]:
        found: dict[str, int] = self.facts.get("usage", {})
        return found


def read_truth(exchange: Json) -> Truth:
    """The facts of an exchange of the model server, as `asdict` wrote it."""
    question, api = exchange["question"], _API[exchange["api"]]
    provider, model = PROVIDERS[api.name][0], question["model"]
    facts: Json = {"provider": provider, "model": model}
    if question["embeds"]:
        facts |= {"embedding_inputs": question["embeds"], "usage": {"input": exchange["embedding_tokens"]}}
        return Truth(exchange["start_ns"], True, facts, "")
    facts["input_messages"] = question["messages"]
    facts |= {f"params.{name}": value for name, value in question["params"].items()}
    said = exchange["answer"]
    answer = Answer(
        **{**said, "tokens": Tokens(**said["tokens"]), "calls": tuple(Call(**c) for c in said["calls"])}
    )
    if answer.status != 200:
        facts["error"] = {"message_contains": answer.error}
        return Truth(exchange["start_ns"], False, facts, "")
    if SNAPSHOTS.get(model, model) and question["form"] != "converse":
        facts["response_model"] = SNAPSHOTS.get(model, model)
        facts["response_id"] = exchange["response_id"]
    if answer.calls:
        facts["tool_calls"] = [
            {"id": call_id(api, exchange["response_id"], n), "name": c.name, "arguments": c.arguments}
            for n, c in enumerate(answer.calls)
        ]
        if not api.call_id_prefix:
            for call in facts["tool_calls"]:
                del call["id"]
    else:
        facts["output_text"] = answer.text
    facts["finish_reason"] = "tool_calls" if answer.calls and api.name != "gemini" else "stop"
    if question["tells_usage"]:
        tokens = api.tokens_of(answer.tokens)
        facts["usage"] = {name: count for name, count in vars(tokens).items() if count}
    return Truth(exchange["start_ns"], False, facts, exchange["response_id"])


def expect(
    case: str,
    spans: dict[str, RecordedSpan],
    kinds: dict[str, str],
    exchanges: list[Json],
    notes: list[Json],
) -> Json:
    """The expected facts of each span by its id, and `_trace` for the whole recording.

    Raises ValueError for a span whose name no pattern of the producer's script covers.
    """
    truths = [read_truth(exchange) for exchange in exchanges]
    told = {s: _kind_of(f"{case}/{span.name}", kinds) for s, span in spans.items()}
    of_span = {s: _inside(spans[s], told[s], truths) for s in spans}
    expected: Json = {"_trace": _whole(spans, truths, notes)}
    for span_id, span in spans.items():
        facts = _facts(span, told[span_id], of_span[span_id], truths, notes)
        entry = _entry(span, told[span_id], facts)
        twin = _primary(spans[span_id], of_span, spans)
        if twin != span_id:
            entry["same_call_as"] = twin
        expected[span_id] = entry
    return expected


def _kind_of(name: str, kinds: dict[str, str]) -> str:
    for pattern, kind in kinds.items():
        if re.search(pattern, name) or re.search(pattern, name.partition("/")[2]):
            return kind
    raise ValueError(f"no kind is declared for the span {name!r}")


def _inside(span: RecordedSpan, kind: str, truths: list[Truth]) -> Truth | None:
    """The request that a model span is about: by the id that it names, else by time."""
    if kind not in ("chat", "embeddings"):
        return None
    fitting = [t for t in truths if t.embeds == (kind == "embeddings")]
    named = [t for t in fitting if t.response_id and span.holds(t.response_id)]
    if len(named) == 1:
        return named[0]
    timed = [t for t in fitting if span.start_ns - _SLACK_NS <= t.start_ns <= span.end_ns + _SLACK_NS]
    if len(timed) > 1:
        raise ValueError(f"the span {span.name!r} holds {len(timed)} requests, so it is no {kind} span")
    # A lazy stream asks only when its span has ended.
    later = [t for t in fitting if t.start_ns > span.start_ns]
    return next(iter(timed or later), None)


def _primary(span: RecordedSpan, of_span: dict[str, Truth | None], spans: dict[str, RecordedSpan]) -> str:
    """The shortest span of the same request: its own id where there is no other."""
    truth = of_span[span.id]
    if truth is None:
        return span.id
    same = [spans[s] for s, t in of_span.items() if t is truth]
    return min(same, key=lambda s: (s.end_ns - s.start_ns, s.id)).id


def _facts(
    span: RecordedSpan, kind: str, truth: Truth | None, truths: list[Truth], notes: list[Json]
) -> Json:
    """All that is true of the span, whether its telemetry tells it or not."""
    facts: Json = dict(truth.facts) if truth else {}
    if kind in ("agent", "workflow"):
        names = {"asked": "input_text", "answered": "output_text"}
        facts |= {names[n["kind"]]: n["text"] for n in notes if n["kind"] in names}
    elif kind == "tool" and (note := _note(span, "tool", notes)):
        facts |= {
            "tool_name": note["name"],
            "tool_arguments": note["arguments"],
            "tool_result": note["result"],
        }
    elif kind == "retrieval" and (note := _note(span, "found", notes)):
        facts |= {
            "query": note["query"],
            "documents": note["documents"],
            "document_count": len(note["documents"]),
        }
        facts["document_ids"] = [d["id"] for d in note["documents"] if d.get("id")]
    errors = [t.facts["error"] for t in truths if "error" in t.facts and _holds_time(span, t.start_ns)]
    if errors and (span.failed or span.holds(errors[-1]["message_contains"])):
        facts["error"] = errors[-1]
    for note in notes:
        if note["kind"] == "session":
            facts |= {k: note[k] for k in ("session_id", "user_id") if note[k]}
    return facts


def _holds_time(span: RecordedSpan, time_ns: int) -> bool:
    return span.start_ns - _SLACK_NS <= time_ns <= span.end_ns + _SLACK_NS


def _note(span: RecordedSpan, kind: str, notes: list[Json]) -> Json | None:
    """The note that was made within the span, else the first after it began."""
    ours = [n for n in notes if n["kind"] == kind]
    within = [n for n in ours if _holds_time(span, n["time_ns"])]
    after = [n for n in ours if n["time_ns"] >= span.start_ns]
    return next(iter(within or after), None)


def _entry(span: RecordedSpan, kind: str, facts: Json) -> Json:
    found: Json = {}
    missing: list[str] = []
    for name, value in facts.items():
        if name == "usage":
            told = {k: n for k, n in value.items() if _tells_tokens(span, k, n)}
            missing += [f"usage.{k}" for k in value if k not in told]
            found |= {"usage": told} if told else {}
        elif name == "documents":
            documents = _told_documents(span, value)
            found |= {"documents": documents} if documents else {}
            missing += [] if documents else ["documents"]
        elif name == "tool_calls" and _tells(span, name, value):
            found[name] = [{k: v for k, v in c.items() if k != "id" or span.holds(v)} for c in value]
        elif _tells(span, name, value):
            found[name] = value
        elif name not in ("session_id", "user_id", "document_count", "document_ids"):
            missing.append(name)
    if "documents" not in found and "document_ids" not in found:
        found.pop("document_count", None)
    entry: Json = {"name": span.name, "kind": "workflow" if kind == "step" else kind, "expect": found}
    return entry | ({"not_in_telemetry": sorted(missing)} if missing else {})


def _tells_tokens(span: RecordedSpan, name: str, count: int) -> bool:
    """Whether the count is there, or the counts that it is the sum of."""
    if name in ("cached", "cache_creation"):
        return float(count) in span.numbers(_TOKENS + "|cache")
    if name == "reasoning":
        return float(count) in span.numbers("reason|thought")
    numbers = span.numbers(_TOKENS)
    if float(count) in numbers:
        return True
    pairs = [set(pair) for size in (2, 3) for pair in itertools.combinations(sorted(numbers), size)]
    return any(sum(pair) == count for pair in pairs) if len(numbers) < 40 else False


def _tells(span: RecordedSpan, name: str, value: Any) -> bool:
    if name == "input_messages":
        return all(_tells_message(span, message) for message in value)
    if name == "tool_calls":
        return all(span.holds(c["name"]) and _tells_leaves(span, c["arguments"]) for c in value)
    if name == "provider":
        spellings = next(s for s in PROVIDERS.values() if s[0] == value)
        said = [t.casefold() for t in span.texts("provider|system|vendor")]
        return any(t == s or t.startswith((s + ".", s + "/")) for s in spellings for t in said)
    if name in ("model", "response_model"):
        return any(t == value or t.endswith("/" + value) for t in span.texts("(?<!^)[a-z]"))
    if name.startswith("params."):
        word = name.removeprefix("params.").split("_")[0]
        return float(value) in span.numbers(word)
    if name == "finish_reason":
        return any(finish_of(t) == value for t in span.texts("finish|stop|reason|choice"))
    if name == "error":
        return span.holds(value["message_contains"])
    if name == "tool_arguments":
        return _tells_leaves(span, value) and all(_tells_name(span, key) for key in value)
    if name == "embedding_inputs":
        return _tells_leaves(span, value)
    if name == "document_ids":
        return bool(value) and all(i in span.texts("id|meta|page|value|output") for i in value)
    if name == "document_count":
        return True
    return span.holds(str(value))


def _tells_message(span: RecordedSpan, message: Json) -> bool:
    text = message.get("text")
    if text is not None and not span.holds(text):
        return False
    return all(_tells_leaves(span, call["arguments"]) for call in message.get("tool_calls", []))


def _tells_name(span: RecordedSpan, name: str) -> bool:
    return any(path.endswith(f".{name}") for path, _ in span.says)


def _tells_leaves(span: RecordedSpan, value: Any) -> bool:
    values = value.values() if isinstance(value, dict) else value
    return all(span.holds(v if isinstance(v, str) else json.dumps(v)) for v in values)


def _told_documents(span: RecordedSpan, documents: list[Json]) -> list[Json]:
    if not all(span.holds(document["content"]) for document in documents):
        return []
    names = [n for n in ("id", "source") if all(d.get(n) in span.texts() for d in documents)]
    if all(d.get("score") is not None and d["score"] in span.numbers("score") for d in documents):
        names.append("score")
    return [{"content": d["content"], **{n: d[n] for n in names}} for d in documents]


def _whole(spans: dict[str, RecordedSpan], truths: list[Truth], notes: list[Json]) -> Json:
    chats = [t for t in truths if not t.embeds]
    totals: dict[str, int] = {}
    for truth in chats:
        for name, count in truth.usage.items():
            totals[name] = totals.get(name, 0) + count
    return {
        "llm_calls": sum("error" not in t.facts for t in chats),
        "embedding_calls": len(truths) - len(chats),
        "tool_calls": sum(n["kind"] == "tool" for n in notes),
        "retrievals": sum(n["kind"] == "found" for n in notes),
        "llm_usage_total": totals,
        "failed": any("error" in t.facts for t in truths),
        "spans": len(spans),
        "roots": sum(not s.parent for s in spans.values()),
        "traces": len({s.trace for s in spans.values()}),
    }
