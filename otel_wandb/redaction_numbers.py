"""Numbers that check themselves: payment cards, IBANs, telephone numbers and addresses of the internet.

Each function takes the text of a match, which is ASCII, in time that grows with its length.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Final

_BEFORE: Final = re.compile(r"\\u[0-9a-fA-F]{4}|\\[bfnrt]|[^0-9]+")
_DOUBLED: Final = bytes.maketrans(b"0123456789", b"0246813579")
"""A digit twice, and the sum of the digits of that."""

_IBAN_HEADS: Final = re.compile(r"(?:^| )([A-Z]{2}[0-9]{2})")
_CARD_FORMS: Final = re.compile(
    r"(?<![0-9])(?=([0-9]+))(?:[0-9]{13,19}|([0-9]{4}[ -][0-9]{4}[ -][0-9]{4}[ -][0-9]{4})(?:[ -][0-9]{3})?"
    r"|[0-9]{4}[ -][0-9]{6}[ -][0-9]{4,5})(?![0-9])"
)
"""How the digits of cards are printed."""

_CARDS: Final = re.compile(
    r"4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})"  # Visa
    r"|(?:5[1-5][0-9]{2}|222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}"  # Mastercard
    r"|3[47][0-9]{13}"  # American Express
    r"|3(?:0[0-5]|[689][0-9])[0-9]{11,16}"  # Diners Club
    r"|35(?:2[89]|[3-8][0-9])[0-9]{12,15}"  # JCB
    r"|6(?:011|4[4-9][0-9]|5[0-9]{2})[0-9]{12,15}"  # Discover
    r"|62[0-9]{14,17}"  # UnionPay
    r"|(?:50[0-9]{2}|5[6-9][0-9]{2}|6[37][0-9]{2})[0-9]{9,15}"  # Maestro
)
"""The first digits and lengths of issuers (ISO/IEC 7812)."""

_IBAN_CHARS: Final = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29,
    "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29,
    "ES": 24, "FI": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28,
    "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20,
    "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22,
    "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25,
    "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27,
    "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip
"""The length of an IBAN by its country (the registry of ISO 13616)."""

_PHONE_DIGITS: Final = range(8, 16)


def find_cards(text: str) -> Iterator[tuple[int, int]]:
    """Where cards stand in a run of digits with single spaces or dashes between them.

    It begins with what stands before the run: an escape sequence, a character, or nothing.
    """
    before = _BEFORE.match(text)
    at = before.end() if before is not None else 0
    if is_card(_join(text[at:])):
        yield at, len(text)
        return
    while (found := _CARD_FORMS.search(text, at)) is not None:
        start, end = found.span()
        ends = (end, found.end(2))  # the last group of digits may be another's
        at = next((until for until in ends if until > 0 and is_card(_join(text[start:until]))), 0)
        if at:
            yield start, at
        else:
            at = start + len(found[1])


def _join(text: str) -> str:
    return text.replace(" ", "").replace("-", "")


def is_card(digits: str) -> bool:
    """Whether it is a number that an issuer gives, with the right last digit (Luhn, ISO/IEC 7812-1)."""
    if not 13 <= len(digits) <= 19 or _CARDS.fullmatch(digits) is None or digits == digits[0] * len(digits):
        return False
    told = digits.encode()
    return (sum(told[-1::-2]) + sum(told[-2::-2].translate(_DOUBLED)) - ord("0") * len(told)) % 10 == 0


def find_ibans(text: str) -> Iterator[tuple[int, int]]:
    """Where IBANs stand in a run of capital letters and digits with single spaces between them."""
    until = 0
    for head in _IBAN_HEADS.finditer(text):
        start = head.start(1)
        end = _end_of_iban(text, start) if start >= until else 0
        if end:
            yield start, end
            until = end


def _end_of_iban(text: str, start: int) -> int:
    """Where the IBAN ends that begins there (ISO 13616, check digits by ISO 7064); 0 if none does."""
    length = _IBAN_CHARS.get(text[start : start + 2], 0)
    places = [at for at in range(start, min(len(text), start + 2 * length)) if text[at] != " "][:length]
    if not length or len(places) < length or text[places[-1] + 1 : places[-1] + 2].strip():
        return 0
    iban = "".join(text[at] for at in places)
    right = int("".join(str(int(char, 36)) for char in iban[4:] + iban[:4])) % 97 == 1
    return places[-1] + 1 if right else 0


def is_phone(text: str) -> bool:
    """Whether there are as many digits as a telephone number has (ITU-T E.164: 15 at most)."""
    return sum(char.isdigit() for char in text) in _PHONE_DIGITS


def is_address(text: str) -> bool:
    """Whether it is an address of somebody: neither this machine's own, nor a word with colons in it."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified) and any(char.isdigit() for char in text)
