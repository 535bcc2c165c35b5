"""Holds converted calls against what is expected of a recording: facts right, missing, wrong and invented.

Calls are read in the one shape that the contract gives them; only what means the same is let pass for it:
white space, arguments as JSON text, agent for workflow, spellings of a provider.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from tests.recordings.telemetry import Json, RecordedSpan, opened

PROVIDERS: Final = {
    "openai": ("openai",),
    "anthropic": ("anthropic",),
    "gemini": ("gcp.gemini", "gcp.gen_ai", "gcp.vertex_ai", "gemini", "google", "google_genai"),
    "bedrock": ("aws.bedrock", "bedrock", "aws_bedrock"),
}
"""The provider behind each API of the model server, in the spelling of the conventions and in others."""

_FINISH: Final = {
    "end_turn": "stop",
    "completed": "stop",
    "tool_call": "tool_calls",
    "tool_use": "tool_calls",
    "tooluse": "tool_calls",
}
_USAGE: Final = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cached": "cache_read_input_tokens",
    "cache_creation": "cache_creation_input_tokens",
    "reasoning": "reasoning_tokens",
}
_WHOLE: Final = ("agent", "workflow", "other")
"""What a framework's own steps are called is a matter of taste."""


@dataclass(frozen=True)
class Miss:
    """One fact that did not come out right: `verdict` is missing, wrong or invented."""

    verdict: str
    span: str
    fact: str
    want: object = None
    got: object = None

    def __str__(self) -> str:
        return f"{self.verdict}: {self.span} {self.fact}: {_short(self.got)} for {_short(self.want)}"


@dataclass
class Score:
    """The facts of one recording or of several."""

    right: int = 0
    misses: list[Miss] = field(default_factory=list)

    @property
    def facts(self) -> int:
        """All facts that were expected."""
        return self.right + sum(m.verdict != "invented" for m in self.misses)

    def count(self, verdict: str) -> int:
        """How many facts are missing, wrong or invented."""
        return sum(m.verdict == verdict for m in self.misses)

    def add(self, other: Score) -> None:
        """Count another score in."""
        self.right += other.right
        self.misses += other.misses


def score(expected: Json, calls: list[Json], spans: dict[str, RecordedSpan]) -> Score:
    """How the calls of one recording compare with what is expected of it."""
    result = Score()
    by_id = {call["id"]: call for call in calls}
    entries = {s: entry for s, entry in expected.items() if s != "_trace"}
    for span_id, entry in entries.items():
        call = by_id.get(span_id)
        for name, want in {"kind": entry["kind"], **entry["expect"]}.items():
            if name != "usage" and want != "any":
                _judge(result, f"{span_id} {entry['name']!r}", name, want, call, entry["kind"])
        if call is not None:
            _look_for_inventions(result, span_id, entry, call, spans[span_id], entries)
    _judge_usage(result, entries, by_id, spans)
    _judge_tree(result, calls, by_id, spans, entries)
    return result


def _judge(result: Score, where: str, name: str, want: Any, call: Json | None, kind: str) -> None:
    got = None if call is None else read(call, name, kind)
    if got is None or _is_empty(got):
        result.misses.append(Miss("missing", where, name, want))
    elif _agrees(name, want, got):
        result.right += 1
    else:
        part = name == "input_messages" and _is_part(want, got)
        result.misses.append(Miss("missing" if part else "wrong", where, name, want, got))


def _judge_usage(
    result: Score, entries: Json, by_id: dict[str, Json], spans: dict[str, RecordedSpan]
) -> None:
    """One fact a count and model request: two spans of one request are one, and must not both count."""
    groups: dict[str, list[str]] = {}
    for span_id, entry in entries.items():
        groups.setdefault(entry.get("same_call_as", span_id), []).append(span_id)
    for top, members in groups.items():
        want: Json = {}
        for member in members:
            want |= entries[member]["expect"].get("usage", {})
        for name, key in _USAGE.items():
            got = sum(_usage_of(by_id.get(member, {}), key) for member in members)
            where = f"{top} {entries[top]['name']!r}"
            if got and name not in want:
                # Tokens of a whole that its parts tell too, or of nothing at all.
                told = any(float(got) in spans[m].numbers("tok|usage|cache") for m in members)
                hidden = any(f"usage.{name}" in entries[m].get("not_in_telemetry", []) for m in members)
                if not (told and hidden):
                    result.misses.append(
                        Miss("wrong" if told else "invented", where, f"usage.{name}", 0, got)
                    )
            elif name in want and got == want[name]:
                result.right += 1
            elif name in want:
                verdict = "wrong" if got else "missing"
                result.misses.append(Miss(verdict, where, f"usage.{name}", want[name], got))


def _usage_of(call: Json, key: str) -> int:
    counted: dict[str, dict[str, int]] = (call.get("summary") or {}).get("usage") or {}
    return sum(usage.get(key, 0) for usage in counted.values())


def _judge_tree(
    result: Score,
    calls: list[Json],
    by_id: dict[str, Json],
    spans: dict[str, RecordedSpan],
    entries: Json,
) -> None:
    """Each span is one call, in its trace and under its parent, and has an exception where it failed."""
    for span_id, span in spans.items():
        call = by_id.get(span_id)
        parent = span.parent if span.parent in spans else None
        failed = span.failed or "error" in entries.get(span_id, {}).get("expect", {})
        want = {"trace_id": span.trace, "parent_id": parent, "failed": failed}
        got = None
        if call is not None:
            told_parent = call.get("parent_id")
            got = {
                "trace_id": call["trace_id"],
                "parent_id": told_parent if told_parent in spans else None,
                "failed": bool(call.get("exception")),
            }
        if got == want:
            result.right += 1
        else:
            verdict = "missing" if got is None else "wrong"
            result.misses.append(Miss(verdict, f"{span_id} {span.name!r}", "tree", want, got))
    strange = [call["id"] for call in calls if call["id"] not in spans]
    twice = len(calls) - len(by_id)
    if strange or twice:
        result.misses.append(Miss("invented", ",".join(strange), "call", 0, len(strange) + twice))


def _look_for_inventions(
    result: Score, span_id: str, entry: Json, call: Json, span: RecordedSpan, entries: Json
) -> None:
    """A value that the span's telemetry is said not to tell must at least stand in it, or in its twin's."""
    twins = [
        e["expect"]
        for s, e in entries.items()
        if e.get("same_call_as", s) == entry.get("same_call_as", span_id)
    ]
    for name in entry.get("not_in_telemetry", []):
        if name.startswith("usage."):
            continue
        got = read(call, name, entry["kind"])
        if name == "documents":
            got = [d.get("content") for d in got]
        if _is_empty(got) or any(name in e and _agrees(name, e[name], got) for e in twins):
            continue
        derived = bool(call["attributes"].get("derived")) and name in ("input_text", "output_text")
        if not derived and not (name == "error" and span.failed) and not _stands_in(span, got):
            where = f"{span_id} {entry['name']!r}"
            result.misses.append(Miss("invented", where, name, None, got))


def _stands_in(span: RecordedSpan, got: object) -> bool:
    numbers = {float(v) for p, v in span.says if isinstance(v, int | float)}
    for path, value in _texts("", got):
        if isinstance(value, int | float):
            if float(value) not in numbers and not span.holds(str(value)):
                return False
        elif not re.search(r"(^|\.)(role|type)$", path) and value and not span.holds(value):
            if path.endswith("arguments") and isinstance(opened(value), dict):
                continue
            return False
    return True


def _texts(path: str, value: object) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(f"{path}.{name}", inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(path, inner)
    elif value is not None and not isinstance(value, bool):
        yield path, value


# ---- where a call has its facts


def read(call: Json, name: str, kind: str) -> Any:
    """What a call tells for a fact, by the contract; None where it does not tell it."""
    about, inputs, output = call["attributes"], call.get("inputs") or {}, call.get("output")
    said = output if isinstance(output, dict) else {}
    if name.startswith("params."):
        return (about.get("params") or {}).get(name.removeprefix("params."))
    if name == "output_text" and kind == "chat":
        return _text_of((_message(said)).get("content"))
    if name in ("documents", "document_ids", "document_count"):
        return _documents(said, name)
    places: dict[str, Callable[[], Any]] = {
        "kind": lambda: about.get("kind"),
        "input_messages": lambda: inputs.get("messages"),
        "tool_calls": lambda: _message(said).get("tool_calls"),
        "input_text": lambda: inputs.get("input"),
        "output_text": lambda: said.get("output"),
        "query": lambda: inputs.get("query"),
        "embedding_inputs": lambda: inputs.get("input"),
        "tool_name": lambda: (about.get("tool") or {}).get("name"),
        "tool_arguments": lambda: inputs.get("arguments"),
        "tool_result": lambda: said.get("result"),
        "error": lambda: call.get("exception"),
    }
    return places.get(name, lambda: about.get(name))()


def _message(output: Json) -> Json:
    choices = output.get("choices") or [{}]
    found: Json = choices[0].get("message") or {}
    return found


def _documents(output: Json, name: str) -> Any:
    documents = [d for d in output.get("documents") or [] if isinstance(d, dict)]
    if name == "document_ids":
        return [d.get("id") for d in documents]
    return documents if name == "documents" else len(documents)


# ---- when two values agree


def finish_of(reason: object) -> str:
    """A finish reason in OpenAI's spelling."""
    text = str(reason).casefold().rsplit(".", 1)[-1].replace("-", "_")
    return _FINISH.get(text, text)


def _agrees(name: str, want: Any, got: Any) -> bool:
    if name == "kind":
        return bool(want == got) or (want in ("agent", "workflow") and got in _WHOLE)
    if name == "provider":
        return str(got).casefold() in next(s for s in PROVIDERS.values() if s[0] == want)
    if name in ("model", "response_model"):
        return bool(got == want) or str(got).endswith("/" + want)
    if name == "finish_reason":
        return bool(finish_of(got) == want)
    if name == "error":
        return str(want["message_contains"]) in str(got) or _squeeze(want["message_contains"]) in _squeeze(
            _json(got)
        )
    if name == "input_messages":
        return len(want) == len(got) and all(map(_same_message, want, got))
    if name == "tool_calls":
        return _same_calls(want, got)
    if name in ("input_text", "output_text"):
        return _squeeze(want) in _squeeze(_text_of(got)) or _squeeze(want) in _squeeze(_json(got))
    if name == "documents":
        return len(want) == len(got) and all(map(_same_document, want, got))
    if name == "tool_name":
        return got == want or bool(re.search(rf"[-./:_]{re.escape(want)}$", str(got)))
    return _same_value(want, got)


def _is_part(want: list[Json], got: list[Json]) -> bool:
    """Whether all that was got is wanted, in order: less than all, but not wrong."""
    rest = iter(want)
    return all(any(_same_message(w, g) for w in rest) for g in got)


def _same_message(want: Json, got: Json) -> bool:
    role = "system" if got.get("role") == "developer" else got.get("role")
    wanted_role = "system" if want["role"] == "developer" else want["role"]
    if role != wanted_role:
        return False
    if "tool_calls" in want and not _same_calls(want["tool_calls"], got.get("tool_calls") or []):
        return False
    content = got.get("content")
    if role == "tool":
        return _same_value(want.get("text", ""), content) or _squeeze(want.get("text", "")) in _squeeze(
            _json(content)
        )
    return _squeeze(want.get("text", "")) == _squeeze(_text_of(content))


def _same_calls(want: list[Json], got: list[Json]) -> bool:
    def same(wanted: Json, call: Json) -> bool:
        function = call.get("function") or {}
        name, arguments = function.get("name"), function.get("arguments")
        right_id = "id" not in wanted or wanted["id"] == call.get("id")
        return right_id and name == wanted["name"] and _same_value(wanted["arguments"], arguments)

    return len(want) == len(got) and all(map(same, want, got))


def _same_document(want: Json, got: Json) -> bool:
    if not _same_value(want["content"], got.get("content")):
        return False
    about = {**(got.get("metadata") or {}), **got}
    return all(_same_value(want[n], about.get(n)) for n in ("id", "score", "source") if n in want)


def _same_value(want: Any, got: Any) -> bool:
    inside = opened(got)
    if isinstance(want, dict):
        got = got if inside is None else inside
        same_keys = isinstance(got, dict) and want.keys() == got.keys()
        return same_keys and all(_same_value(want[k], got[k]) for k in want)
    if isinstance(want, list):
        got = got if inside is None else inside
        return isinstance(got, list) and len(want) == len(got) and all(map(_same_value, want, got))
    if isinstance(want, int | float) and isinstance(got, int | float):
        return math.isclose(want, got, rel_tol=1e-9)
    return _squeeze(str(want)) in (_squeeze(_text_of(got)), _squeeze(_text_of(inside)))


def _text_of(value: object) -> str:
    """The text of a string, of a list of parts, or of an object around one."""
    if isinstance(value, list):
        return "\n".join(t for t in map(_text_of, value) if t)
    if isinstance(value, dict):
        named = (value[k] for k in ("text", "content", "output", "result", "value") if value.get(k))
        return _text_of(next(named, ""))
    return "" if value is None else str(value)


def _squeeze(text: str) -> str:
    return " ".join(text.split())


def _json(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _is_empty(value: object) -> bool:
    if isinstance(value, dict | list):
        return all(map(_is_empty, value.values() if isinstance(value, dict) else value))
    return value is None or value in ("", 0)


def _short(value: object) -> str:
    text = _json(value) if not isinstance(value, float | int) else str(value)
    return text if len(text) <= 300 else text[:297] + "..."
