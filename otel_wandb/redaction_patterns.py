"""What secrets and personal data look like: patterns over JSON text, some with a second look.

How a pattern must be written: it runs over JSON text, in which a line break is a backslash and an `n`, and a
quote inside a string carries one backslash for each level of nesting. So a match must never begin or end
inside an escape sequence: what may precede a token is spelled out in `_START` or `_ESCAPE`, and no value
contains a backslash unless it takes the whole sequence. A match that begins with the letter of an escape is
cut by it. The secret is group 1 where the pattern has groups, else all.
RE2 knows no look-ahead: what must not follow is told by `alone`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from otel_wandb.redaction_numbers import find_cards, find_ibans, is_address, is_phone

Spans: TypeAlias = Iterable[tuple[int, int]]

_START: Final = r"(?:^|[^A-Za-z0-9]|\\[bfnrt]|\\u00[0-9a-f]{2})"
_ESCAPE: Final = r"\\[bfnrt]|\\u[0-9a-fA-F]{4}"
_NAME: Final = (
    r"(?:passw(?:or)?d|passwd|pwd|passphrase|secret|api[_-]?key|access[_-]?key|account[_-]?key"
    r"|private[_-]?key|(?:access|api|auth|bearer|id|refresh|secret|security|session)[_-]?token|credentials?)"
)
_BARE: Final = r"[^\s\"'\\,;&<>{}()\[\]]"
_IN_CONNECTION: Final = r"(?:account_?key|shared_?access_?(?:key|signature)|password|pwd)\s?=\s?"
_COOKIE: Final = r"[A-Za-z0-9!#$%&*+.^_|~-]+=(?:\\+\"[^\"\\]*\\+\"|[^\"'\\;]*)"
_COOKIES: Final = _COOKIE + r"(?:;\s?(?:" + _COOKIE + r"|[A-Za-z]+))*;?"
_PLACEHOLDERS: Final = frozenset(
    (
        "null", "none", "true", "false", "undefined", "string", "str", "text", "bytes", "required",
        "optional", "redacted", "object", "array", "withheld",
    )
)  # fmt: skip
MARKS: Final = ("[redacted", "[hashed")
"""What stands for a secret begins with one of these."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """One kind of secret: its name stands in the place of what it hides. `accept` looks at a match again.

    `find` tells which parts of a match, given as Latin-1, are secret; `alone`: neither a letter nor a
    digit follows, nor a fraction.
    """

    name: str
    regex: str
    accept: Callable[[str], bool] | None = None
    find: Callable[[str], Spans] | None = None
    alone: bool = False


def _has_digit(value: str) -> bool:
    return any(c.isdigit() for c in value)


def _is_given(value: str) -> bool:
    """Tells a value from a word that only stands where a value could."""
    return value.lower() not in _PLACEHOLDERS and len(set(value)) > 1 and not value.startswith(MARKS)


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
    Pattern(  # the values of a header, as OpenTelemetry has them
        "cookie",
        r"(?i)cookie\\*[\"']\s*[:=]\s*[\[(]\s*\\*[\"']("
        + _COOKIES
        + r"(?:\\*[\"'],\s*\\*[\"']"
        + _COOKIES
        + r")*)",
        _is_given,
    ),
    Pattern("cookie", r"(?i)cookie\\*[\"']?\s*[:=]\s*\\*[\"']?(" + _COOKIES + r")", _is_given),
    Pattern(
        "authorization",
        r"(?i)authorization\\*[\"']?\s*[:=]\s*\[?\\*[\"']?((?:basic|bearer|digest|token|apikey)\s[^\"'\\]{6,})",
    ),
    Pattern("bearer_token", r"(?i)bearer[\s+]+([A-Za-z0-9._~+/=-]{16,})", _has_digit),
    # Of a connection string the value goes on to the next semicolon, whatever is in it.
    Pattern("connection_string", r"(?i)" + _IN_CONNECTION + r"([^\s;\"'\\]{3,});", _is_given),
    Pattern("connection_string", r"(?i);\s?" + _IN_CONNECTION + r"([^;\"'\\]{3,})", _is_given),
    # A member of the call itself: the value ends at the first quote that is not escaped.
    Pattern("assignment", r'(?i)[{,]"[^"\\]*' + _NAME + r'"\s*:\s*"((?:[^"\\]|\\.)+)"', _is_given),
    # A member of JSON inside a string: quotes are escaped, once or more.
    Pattern("nested_assignment", r"(?i)" + _NAME + r'\\+"\s*:\s*\\+"([^"\\]+)', _is_given),
    Pattern(
        "text_assignment",
        # A colon behind the quote is that of a member whose key ends here.
        r"(?i)" + _NAME + r"\s*[:=]\s*(?:\\*[\"'])?([^\s\"'\\,;&<>{}()\[\]:]" + _BARE + r"{3,})",
        _is_given,
    ),
    # A run of digits, of which parts may be cards. Without a group, since that costs ten times as much.
    Pattern(
        "card",
        r"(?:" + _ESCAPE + r"|^|[^A-Za-z0-9.+-]|[A-Za-z_]\.)[2-6](?:[ -]?[0-9]){12,}",
        find=find_cards,
        alone=True,
    ),
)

_OCTET: Final = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"

PII_PATTERNS: Final[tuple[Pattern, ...]] = (
    Pattern(
        "email",
        r"(?:" + _ESCAPE + r"|^|[^A-Za-z0-9._%+-])"
        r"([A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,24})",
    ),
    Pattern(
        "iban",
        r"(?:" + _ESCAPE + r"|^|[^A-Za-z0-9])([A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,})",
        find=find_ibans,
    ),
    Pattern(
        "phone",
        r"(?:" + _ESCAPE + r"|^|[^A-Za-z0-9.:/+-])"
        r"((?:\+|00)[1-9][0-9]{0,3}(?:[ ./-]?\(?[0-9]{1,5}\)?){2,6}"
        r"|\(?[2-9][0-9]{2}\)?[ .-][0-9]{3}[ .-][0-9]{4}"
        r"|\(?0[1-9][0-9]{1,4}\)?[ /-][0-9]{3,8}(?:[ -][0-9]{2,5}){0,3})",
        is_phone,
        alone=True,
    ),
    Pattern(
        "ip",
        r"(?:" + _ESCAPE + r"|^|[^A-Za-z0-9.:-])"
        r"((?:[0-9A-Fa-f]{0,4}:){2,7}(?:" + _OCTET + r"(?:\." + _OCTET + r"){3}|[0-9A-Fa-f]{0,4}))",
        is_address,
        alone=True,
    ),
    Pattern(
        "ip",
        r"(?:" + _ESCAPE + r"|^|[^A-Za-z0-9.-])(" + _OCTET + r"(?:\." + _OCTET + r"){3})",
        is_address,
        alone=True,
    ),
)
"""Personal data that has a form: `pii: basic`."""
