"""The one boundary that every call crosses before the store: secrets are replaced, doubtful content withheld.

`Redactor.redact` takes an encoded call and gives back JSON that is just as valid. One RE2 set (linear time,
whatever the input) tells which patterns occur at all; almost always none does, and the bytes come back as
they were. When anything goes wrong, the call keeps its ids, times and token counts, and nothing else.

How a pattern must be written: it runs over JSON text, in which a line break is a backslash and an `n`, and a
quote inside a string carries one backslash for each level of nesting. So a match must never begin or end
inside an escape sequence: what may precede a token is spelled out in `_START`, and no value contains a
backslash unless it takes the whole sequence. The secret is group 1 where the pattern has groups, else all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec
import re2

_log = logging.getLogger("otel_wandb.redaction")

_START: Final = r"(?:^|[^A-Za-z0-9]|\\[bfnrt]|\\u00[0-9a-f]{2})"
_NAME: Final = (
    r"(?:passw(?:or)?d|passwd|pwd|passphrase|secret|api[_-]?key|access[_-]?key|account[_-]?key"
    r"|private[_-]?key|(?:access|api|auth|bearer|id|refresh|secret|security|session)[_-]?token|credentials?)"
)
_BARE: Final = r"[^\s\"'\\,;&<>{}()\[\]]"


def _has_digit(value: str) -> bool:
    return any(c.isdigit() for c in value)


def _is_given(value: str) -> bool:
    """Tells a value from a word that only stands where a value could."""
    return value.lower() not in _PLACEHOLDERS and len(set(value)) > 1 and not value.startswith("[redacted")


_PLACEHOLDERS: Final = frozenset(
    [
        "null",
        "none",
        "true",
        "false",
        "undefined",
        "string",
        "str",
        "text",
        "bytes",
        "required",
        "optional",
        "redacted",
        "object",
        "array",
    ]
)


@dataclass(frozen=True, slots=True)
class Pattern:
    """One kind of secret: its name stands in the place of what it hides. `accept` looks at a match again."""

    name: str
    regex: str
    accept: Callable[[str], bool] | None = None


DEFAULT_PATTERNS: Final[tuple[Pattern, ...]] = (
    Pattern(  # with or without headers, cut off or whole, on one line or many
        "private_key",
        r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"
        r"(?:(?:\\+[nrt])+[A-Za-z-]+: [^\"\\]*)*"
        r"(?:(?:\\+[nrt]| )*[A-Za-z0-9+/=]{16,})*(?:(?:\\+[nrt]| )*[A-Za-z0-9+/=]+)?"
        r"(?:(?:\\+[nrt]| )*-----END (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----)?",
    ),
    Pattern("jwt", _START + r"(eyJ[A-Za-z0-9_-]{6,}\.eyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]*)"),
    Pattern("aws_access_key", _START + r"((?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16})"),
    Pattern("anthropic_key", _START + r"(sk-ant-[A-Za-z0-9_-]{10,})"),
    Pattern(
        "openai_key",
        _START + r"(sk-(?:[A-Za-z0-9]{20,}|(?:proj|svcacct|admin|None|or-v1|lf)-[A-Za-z0-9_-]{16,}))",
    ),
    Pattern("wandb_key", _START + r"(wandb_v[0-9]+_[A-Za-z0-9_-]{20,}|local-[0-9a-f]{40})"),
    Pattern("github_token", _START + r"(gh[opusr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})"),
    Pattern("gitlab_token", _START + r"(gl(?:pat|ptt|dt|rt)-[A-Za-z0-9_-]{16,})"),
    Pattern("slack_token", _START + r"(xox[abeoprs]-[A-Za-z0-9-]{10,}|xapp-[0-9]-[A-Za-z0-9-]{10,})"),
    Pattern("slack_webhook", r"hooks\.slack\.com/(?:services|workflows)/([A-Za-z0-9/_-]{16,})"),
    Pattern(
        "google_key",
        _START + r"(AIza[A-Za-z0-9_-]{35}|GOCSPX-[A-Za-z0-9_-]{20,}|ya29\.[A-Za-z0-9_-]{20,})",
    ),
    Pattern("stripe_key", _START + r"((?:sk|rk)_(?:live|test)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9]{16,})"),
    Pattern(
        "vendor_token",
        _START + r"(hf_[A-Za-z0-9]{30,}|gsk_[A-Za-z0-9]{30,}|xai-[A-Za-z0-9]{30,}|pplx-[A-Za-z0-9]{30,}"
        r"|npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{50,}|lsv2_(?:pt|sk)_[A-Za-z0-9_]{30,}"
        r"|pcsk_[A-Za-z0-9_]{30,}|dapi[a-f0-9]{32}|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,})",
    ),
    Pattern("url_password", r"[A-Za-z][A-Za-z0-9+.-]*://[^\s:/@\"'\\]*:([^\s/@\"'\\]+)@", _is_given),
    Pattern(
        "url_signature",
        r"[?&](?i:token|key|sig|signature|x-amz-signature|x-goog-signature)=([A-Za-z0-9%._~+/-]{12,})",
        _has_digit,
    ),
    Pattern(
        "authorization",
        r"(?i)authorization\\*[\"']?\s*[:=]\s*\[?\\*[\"']?((?:basic|bearer|digest|token|apikey)\s[^\"'\\]{6,})",
    ),
    Pattern("bearer_token", r"(?i)bearer\s+([A-Za-z0-9._~+/=-]{16,})", _has_digit),
    # A member of the call itself: the value ends at the first quote that is not escaped.
    Pattern("assignment", r'(?i)[{,]"[^"\\]*' + _NAME + r'"\s*:\s*"((?:[^"\\]|\\.)+)"', _is_given),
    # A member of JSON inside a string: quotes are escaped, once or more.
    Pattern(
        "nested_assignment",
        r"(?i)" + _NAME + r'\\+"\s*:\s*\\+"([^"\\]+)',
        _is_given,
    ),
    Pattern(
        "text_assignment",
        r"(?i)" + _NAME + r"\s*[:=]\s*(?:\\*[\"'])?(" + _BARE + r"{4,})",
        _is_given,
    ),
)

_VISIBLE: Final = ("id", "trace_id", "parent_id", "started_at", "ended_at", "thread_id", "turn_id")
_NOTE: Final = "withheld: the redaction of this call failed"


class Redacted(NamedTuple):
    """The body that may be stored and sent, how often each pattern hit, whether the content was withheld."""

    body: bytes
    hits: dict[str, int]
    withheld: bool


_NO_HITS: Final[dict[str, int]] = {}


class Redactor:
    """Replaces secrets in encoded calls. Thread-safe; building one compiles the patterns (some 10 ms)."""

    def __init__(self, patterns: Sequence[Pattern] = DEFAULT_PATTERNS) -> None:
        self._patterns = [(pattern, re2.compile(pattern.regex.encode())) for pattern in patterns]
        self._set = re2.Set.SearchSet()
        for pattern in patterns:
            self._set.Add(pattern.regex)
        self._set.Compile()
        self._find = self._set.Match

    def redact(self, body: bytes) -> Redacted:
        """The body with each secret replaced by `[redacted:NAME]`; what cannot be redacted is withheld."""
        try:
            found = self._find(body)
            if not found:
                return Redacted(body, _NO_HITS, False)
            return self._replace(body, sorted(found))
        except Exception:  # noqa: BLE001  whatever failed, the content must not pass
            _log.exception("A call could not be redacted; its content is withheld.")
            return Redacted(withhold(body), {}, True)

    def _replace(self, body: bytes, found: list[int]) -> Redacted:
        hits: dict[str, int] = {}
        redacted = body
        for index in found:
            pattern, regex = self._patterns[index]
            redacted, count = _substitute(pattern, regex, redacted)
            if count:
                hits[pattern.name] = count
        if hits:
            msgspec.json.decode(redacted, type=msgspec.Raw)  # raises if a match has cut an escape sequence
        return Redacted(redacted, hits, False)


def _substitute(pattern: Pattern, regex: re2._Regexp, body: bytes) -> tuple[bytes, int]:
    group = 1 if regex.groups else 0
    pieces: list[bytes] = []
    at = 0
    for match in regex.finditer(body):
        start, end = match.span(group)
        if start < 0 or (pattern.accept and not pattern.accept(body[start:end].decode(errors="replace"))):
            continue
        pieces += (body[at:start], b"[redacted:", pattern.name.encode(), b"]")
        at = end
    return b"".join((*pieces, body[at:])), len(pieces) // 4


def withhold(body: bytes) -> bytes:
    """The call with nothing left but its ids, its times and its counts."""
    try:
        call = msgspec.json.decode(body)
        visible: dict[str, object] = {key: call[key] for key in _VISIBLE if call.get(key) is not None}
        visible |= {
            "op_name": "withheld",
            "attributes": {"kind": "other", "withheld": _NOTE},
            "inputs": {"withheld": _NOTE},
            "output": _NOTE,
            "summary": _counts_only(call.get("summary")),
        }
        if call.get("exception"):
            visible["exception"] = msgspec.json.encode({"type": "error", "message": _NOTE}).decode()
        return msgspec.json.encode(visible)
    except (msgspec.MsgspecError, AttributeError, TypeError):
        return b"{}"


def _counts_only(summary: object) -> dict[str, object]:
    counts: dict[str, object] = {}
    if isinstance(summary, dict):
        if isinstance(summary.get("status_counts"), dict):
            counts["status_counts"] = summary["status_counts"]
        usage = summary.get("usage")
        if isinstance(usage, dict):
            # The key is the model's name, which is text from the span like any other.
            counts["usage"] = {f"withheld-{i}": tokens for i, tokens in enumerate(usage.values())}
    return counts
