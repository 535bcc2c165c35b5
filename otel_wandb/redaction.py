"""The one boundary that every call crosses before the store: secrets are replaced, doubtful content withheld.

`Redactor.redact` takes an encoded call and gives back JSON that is just as valid. One RE2 set (linear time,
whatever the input) tells which patterns occur at all; almost always none does, and the bytes come back as
they were. When anything goes wrong, the call keeps its ids, times and token counts, and nothing else.

What is in base64 or encoded for a URL is decoded and looked at, too. Which patterns there are is in
`redaction_patterns`; what users ask for beyond them in `redaction_rules`.
"""

from __future__ import annotations

import binascii
import hashlib
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import unquote_to_bytes

import msgspec
import re2

from otel_wandb.redaction_patterns import DEFAULT_PATTERNS, PII_PATTERNS, Pattern

__all__ = ["DEFAULT_PATTERNS", "PII_PATTERNS", "Mark", "Pattern", "Redacted", "Redactor", "withhold"]

_log = logging.getLogger("otel_wandb.redaction")

Mark: TypeAlias = Callable[[str, bytes], bytes]
"""What stands in the place of a secret, of which the kind and the text are given."""

_VISIBLE: Final = ("id", "trace_id", "parent_id", "started_at", "ended_at")
_NOTE: Final = "withheld: the redaction of this call failed"

_BASE64: Final = r"[A-Za-z0-9+/_-]{40,}={0,2}"
_MAX_BASE64: Final = 4096
_IN_URL: Final = r"[A-Za-z0-9._~!$'()*,:@/+-]*%[0-9A-Fa-f]{2}[A-Za-z0-9._~!$'()*,:@/+%-]*"
_MAX_IN_URL: Final = 16384
_MEDIUM: Final = b"base64,"
_HEX: Final = b"0123456789abcdefABCDEF"
_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
_ID_MEMBER: Final = re.compile(rb'"(?:parent_id|span_id|turn_id)":"\Z')
_ID_AT: Final = len(b'{"id":"')
"""Where the id of a call stands."""
_BACKSLASH: Final = ord("\\")
_ESCAPED: Final = re.compile(rb"[bfnrt]|u[0-9a-fA-F]{4}")
_ID_CHARS: Final = 16
_BEFORE_NUMBERS: Final = frozenset((b":", b"[", b",", b""))
_BEHIND_NUMBERS: Final = frozenset((b",", b"}", b"]", b""))
_HASH_BYTES: Final = 8
_NO_DIGITS: Final = bytes.maketrans(b"0123456789abcdef", b"abcdefghijklmnop")


def mask(name: str, secret: bytes) -> bytes:
    """`[redacted:NAME]`, whatever the secret is."""
    return b"[redacted:" + name.encode() + b"]"


def drop(name: str, secret: bytes) -> bytes:
    """Nothing."""
    return b""


def hash_with(key: bytes) -> Mark:
    """`[hashed:NAME:...]` with 64 bits of BLAKE2b under the key (RFC 7693), as letters: equal stays equal.

    Letters, so that no other pattern takes them for a number.
    """
    keyed = hashlib.blake2b(key, digest_size=32).digest()  # a key may have any length

    def mark(name: str, secret: bytes) -> bytes:
        if b"\\" in secret:
            try:  # the same value, however it is escaped here
                secret = msgspec.json.decode(b'"' + secret + b'"', type=str).encode()
            except (msgspec.MsgspecError, UnicodeError):
                pass
        digest = hashlib.blake2b(secret, key=keyed, digest_size=_HASH_BYTES).hexdigest().encode()
        return b"[hashed:" + name.encode() + b":" + digest.translate(_NO_DIGITS) + b"]"

    return mark


class Redacted(NamedTuple):
    """The body that may be stored and sent, how often each pattern hit, whether the content was withheld."""

    body: bytes
    hits: dict[str, int]
    withheld: bool


_NO_HITS: Final[dict[str, int]] = {}


class Redactor:
    """Replaces secrets in encoded calls. Thread-safe; building one compiles the patterns (some 10 ms)."""

    def __init__(self, patterns: Sequence[Pattern] = DEFAULT_PATTERNS, mark: Mark = mask) -> None:
        self._patterns = [(pattern, re2.compile(pattern.regex.encode())) for pattern in patterns]
        self._coded = (
            ("base64", re2.compile(_BASE64.encode()), self._is_base64_of_secret),
            ("in_url", re2.compile(_IN_URL.encode()), self._is_url_of_secret),
        )
        self._mark = mark
        self._set = re2.Set.SearchSet()
        for pattern in patterns:
            self._set.Add(pattern.regex)
        self._set.Add(_BASE64)
        self._set.Add(r"%[0-9A-Fa-f]{2}")
        self._set.Add(r"\z")  # which all texts have: where it is not found, the search itself has failed
        self._set.Compile()
        self._find = self._set.Match
        self._nothing = [len(self._patterns) + len(self._coded)]

    def redact(self, body: bytes) -> Redacted:
        """The body with each secret replaced; what cannot be redacted is withheld."""
        try:
            found = self._find(body)
            if found == self._nothing:
                return Redacted(body, _NO_HITS, False)
            return self._replace(body, found)
        except Exception:  # noqa: BLE001  whatever failed, the content must not pass
            _log.exception("A call could not be redacted; its content is withheld.")
            return Redacted(withhold(body), {}, True)

    def _replace(self, body: bytes, found: list[int]) -> Redacted:
        if not found:
            raise RuntimeError("the search for patterns ran out of memory")
        hits: dict[str, int] = {}
        redacted = body
        for index in sorted(found):
            if index < len(self._patterns):
                name, (redacted, count) = self._substitute(index, redacted)
            elif [index] != self._nothing:
                name, regex, is_secret = self._coded[index - len(self._patterns)]
                redacted, count = self._look_into(name, regex, is_secret, redacted)
            else:
                continue
            if count:
                hits[name] = hits.get(name, 0) + count
        if hits:
            msgspec.json.decode(redacted, type=msgspec.Raw)  # raises if a match has cut an escape sequence
        return Redacted(redacted, hits, False)

    def _substitute(self, index: int, body: bytes) -> tuple[str, tuple[bytes, int]]:
        pattern, regex = self._patterns[index]
        pieces: list[bytes] = []
        at = 0
        for start, end in _find_secrets(pattern, regex, body):
            secret = body[start:end]
            before, behind = body[max(start - 8, 0) : start].rstrip(b" ")[-1:], body[end : end + 1]
            if secret.isdigit() and before in _BEFORE_NUMBERS and behind in _BEHIND_NUMBERS:
                told = b"9" * len(secret)  # it may be a number of JSON, which only a number can replace
            else:
                told = self._mark(pattern.name, secret)
            pieces += (body[at:start], told)
            at = end
        return pattern.name, (b"".join((*pieces, body[at:])), len(pieces) // 2)

    def _look_into(
        self, name: str, regex: re2._Regexp, is_secret: Callable[[bytes], bool], body: bytes
    ) -> tuple[bytes, int]:
        """Replaces each run that is an encoded secret, the whole of it."""
        pieces: list[bytes] = []
        at = 0
        for match in regex.finditer(body):
            start, end = match.span()
            if body[max(start - len(_MEDIUM), 0) : start] == _MEDIUM:
                continue
            start = _leave_escape(body, start)
            if is_secret(body[start:end]):
                pieces += (body[at:start], self._mark(name, body[start:end]))
                at = end
        return b"".join((*pieces, body[at:])), len(pieces) // 2

    def _is_url_of_secret(self, run: bytes) -> bool:
        # JSON, since what the patterns know of line breaks and quotes is how JSON has them.
        told = unquote_to_bytes(run.replace(b"+", b" ")).decode(errors="replace")
        return len(run) <= _MAX_IN_URL and self._holds_secret(msgspec.json.encode(told))

    def _is_base64_of_secret(self, run: bytes) -> bool:
        if len(run) > _MAX_BASE64:
            return False
        run = run.rstrip(b"=").translate(_URL_SAFE)
        if not run.strip(_HEX):
            return False
        # What stands before it may be of the same letters, so it may begin at any of four places.
        for skipped in range(4):
            length = len(run) - skipped
            decoded = binascii.a2b_base64(run[skipped : skipped + length - (length % 4 == 1)] + b"==")
            if self._holds_secret(decoded):
                return True
        return False

    def _holds_secret(self, decoded: bytes) -> bool:
        found = self._find(decoded)
        for index in found if found != self._nothing else ():
            if index < len(self._patterns):
                pattern, regex = self._patterns[index]
                if next(_find_secrets(pattern, regex, decoded), None) is not None:
                    return True
        return False


def _find_secrets(pattern: Pattern, regex: re2._Regexp, body: bytes) -> Iterator[tuple[int, int]]:
    group = 1 if regex.groups else 0
    for match in regex.finditer(body):
        start, end = match.span(group)
        start = _leave_escape(body, start)
        if not 0 <= start < end:
            continue
        if pattern.accept is None and pattern.find is None:
            yield start, end
            continue
        text = body[start:end].decode("utf-8" if pattern.find is None else "latin-1", errors="replace")
        if pattern.accept is not None and not pattern.accept(text):
            continue
        spans = pattern.find(text) if pattern.find is not None else ((0, end - start),)
        for begin, until in spans:
            if not pattern.alone or _is_alone(body, start + begin, start + until):
                yield start + begin, start + until


def _leave_escape(body: bytes, start: int) -> int:
    """The place itself, or that behind the escape sequence in which it may be."""
    if start and body[start - 1] == _BACKSLASH and (found := _ESCAPED.match(body, start)) is not None:
        return found.end()
    return start


def _is_alone(body: bytes, start: int, end: int) -> bool:
    """Whether neither letter, digit nor fraction follows, and it is no id of a span, which may be digits."""
    behind = body[end : end + 2]
    if behind[:1].isalnum() or (behind[:1] == b"." and behind[1:].isdigit()):
        return False
    if end - start != _ID_CHARS or behind[:1] != b'"':
        return True
    is_own = start == _ID_AT and body.startswith(b'{"id":"')
    return not is_own and _ID_MEMBER.search(body[max(start - 16, 0) : start]) is None


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
