r"""Detectors of direct identifiers: a linear-time pattern that finds candidates, and a check that confirms them.

Patterns run over bytes (google-re2, Latin-1: `\b` is ASCII). They exclude by themselves what masked output is full of,
above all `@example.invalid`, so that clean output never leaves the fast path. Reserved namespaces are excepted because
they belong to nobody: `.invalid` (RFC 2606), +999 (unassigned), 192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24 and
2001:db8::/32 (documentation), cards of issuer 0000, NINO prefix QQ, NHS numbers 999.

Raise VERSION with every change of what is found: it is part of the policy digest, so scrubs run again.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

VERSION = 1

Span = tuple[int, int]
Confirm = Callable[[bytearray, int, int], "Span | None"]


@dataclass(frozen=True, slots=True)
class Detector:
    """`confirm(data, start, end)` gets a candidate with its surroundings and answers the identifier's span, or None."""

    name: str
    help: str
    pattern: bytes
    confirm: Confirm


# ----------------------------------------------------------------------------------------------------------- checksums
def luhn(digits: bytes) -> bool:
    total = 0
    for place, byte in enumerate(reversed(digits)):
        value = byte - 48
        if place % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


def mod97(iban: bytes) -> bool:
    """ISO 13616: the first four characters go to the end, letters count from A = 10."""
    moved = iban[4:] + iban[:4]
    return int("".join(str(int(chr(c), 36)) for c in moved)) % 97 == 1


def mod11(digits: bytes) -> bool:
    """NHS number: weights 10 .. 2, check digit 11 - sum % 11, where 11 counts as 0 and 10 does not exist."""
    check = 11 - sum((10 - i) * (digits[i] - 48) for i in range(9)) % 11
    return (0 if check == 11 else check) == digits[9] - 48


def _digits(data: bytearray, start: int, end: int) -> bytes:
    return bytes(b for b in data[start:end] if 48 <= b <= 57)


_START = rb"(?:^|[^0-9A-Za-z_.]|[^0-9]\.)"
"""Where a number may begin: not within a word, and not behind a decimal point. It is part of the pattern rather than of
the check because every row of a table of measurements has such digits: checked in Python they cost 10 x the scan."""


def _begin(data: bytearray, start: int) -> int:
    """Where the identifier begins, behind the context that `_START` matched."""
    while data[start] not in b"0123456789(+":
        start += 1
    return start


def _fraction(data: bytearray, end: int) -> bool:
    """A decimal point and a digit follow: it was the whole part of a number."""
    return re.fullmatch(rb"\.[0-9]", bytes(data[end : end + 2])) is not None


def _numbered(data: bytearray, start: int) -> bool:
    """The tail of a code such as ORD-0123456789 or of a UUID."""
    return re.fullmatch(rb"[0-9A-Za-z]-", bytes(data[max(start - 2, 0) : start])) is not None


# --------------------------------------------------------------------------------------------------------------- email
_LABEL = rb"[0-9A-Za-z\x80-\xff](?:[0-9A-Za-z\x80-\xff-]{0,62})"
_LOCAL = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._%+'-") | frozenset(range(128, 256))


def _other_than(word: str) -> bytes:
    """A pattern of two and more letters that are not `word`; RE2 knows no look-ahead."""
    letters, parts = "[a-z\\x80-\\xff]", []
    for at, letter in enumerate(word):
        others = "".join(c for c in "abcdefghijklmnopqrstuvwxyz" if c != letter)
        tail = letters + ("*" if at else "+")
        parts.append(f"{word[:at]}[{others}\\x80-\\xff]{tail}")
        if at >= 2:
            parts.append(word[:at])
    parts.append(f"{word}{letters}+")
    return f"(?i:{'|'.join(parts)}|xn--[0-9a-z-]+)".encode()


def _email(data: bytearray, start: int, end: int) -> Span | None:
    """Widen the candidate to the whole address; the pattern only has one character of the local part."""
    while end < len(data) and re.match(rb"\.?[0-9A-Za-z\x80-\xff-]", bytes(data[end : end + 2])):
        end += 2 if data[end] == 0x2E else 1
    if bytes(data[start:end]).lower().endswith(b".invalid"):
        return None
    first = start
    while first > 0 and start - first < 63 and data[first - 1] in _LOCAL:
        first -= 1
    return first, end


EMAIL = Detector(
    "email",
    "an email address outside .invalid, also with %40",
    rb"[0-9A-Za-z_%+'.\x80-\xff-](?:@|%40)(?:" + _LABEL + rb"\.){1,8}" + _other_than("invalid") + rb"\b",
    _email,
)

# --------------------------------------------------------------------------------------------------------------- phone
_INTERNATIONAL = rb"\+(?:[1-8]|9[0-8]|99[0-8])(?:[ ().-]{0,2}[0-9]){7,14}\b"
_NATIONAL = (
    rb"0[1-9][0-9]{8,9}"
    rb"|0[1-9][0-9][ -][0-9]{4}[ -]?[0-9]{4}"  # 020 7946 0958
    rb"|0[1-9][0-9]{2}[ -][0-9]{3}[ -]?[0-9]{3,4}"  # 0161 496 0123
    rb"|0[1-9][0-9]{3}[ -][0-9]{3}[ -]?[0-9]{2,3}"  # 01632 960 123, 07700 900123
    rb"|0[1-9](?:[ .-][0-9]{2}){4}"  # 06 12 34 56 78
    rb"|0[1-9][0-9]{1,4}[ /-][0-9]{5,8}"  # 030/1234567
    rb"|0044[0-9]{10}|00[1-9][0-9]{0,2} (?:[ ().]{0,2}[0-9]){7,12}"  # 0044 7700 900123
    rb"|[2-9][0-9]{2}(?:-[2-9][0-9]{2}-|\.[2-9][0-9]{2}\.| [2-9][0-9]{2} )[0-9]{4}"  # 212-555-0123
)
_IN_BRACKETS = rb"\((?:0[1-9][0-9]{1,4}\)[ -]?[0-9]{3,4}[ -]?[0-9]{3,4}|[2-9][0-9]{2}\) ?[2-9][0-9]{2}[-. ][0-9]{4})\b"


def _phone(data: bytearray, start: int, end: int) -> Span | None:
    start = _begin(data, start)
    count = len(_digits(data, start, end))
    if data[start] == 0x2B:  # +
        joined = start > 0 and re.match(rb"[0-9A-Za-z]", bytes(data[start - 1 : start]))
        return None if joined or not 8 <= count <= 15 else (start, end)
    code = _numbered(data, start) and count == end - start
    return None if code or not 9 <= count <= 16 or _fraction(data, end) else (start, end)


PHONE = Detector(
    "phone",
    "a telephone number: E.164, or grouped as in GB, US, FR, DE",
    _INTERNATIONAL + b"|" + _START + b"(?:" + _NATIONAL + rb")\b|" + _IN_BRACKETS,
    _phone,
)

# ---------------------------------------------------------------------------------------------------------------- card
_CARD = (
    rb"(?:4[0-9]{3}|5[1-5][0-9]{2}|222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720|6011|65[0-9]{2}|64[4-9][0-9]"
    rb"|35(?:2[89]|[3-8][0-9])|62[0-9]{2})(?:[0-9]{12}|(?:[ -][0-9]{4}){3})"
    rb"|3[47][0-9]{2}(?:[0-9]{11}|[ -][0-9]{6}[ -][0-9]{5})"
    rb"|3(?:0[0-5]|[68][0-9])[0-9](?:[0-9]{10}|[ -][0-9]{6}[ -][0-9]{4})"
    rb"|(?:4|62)[0-9]{17,18}"
)


def _card(data: bytearray, start: int, end: int) -> Span | None:
    start = _begin(data, start)
    return None if _fraction(data, end) or not luhn(_digits(data, start, end)) else (start, end)


CARD = Detector(
    "card", "a payment card number that passes Luhn, of a known issuer range", _START + b"(?:" + _CARD + rb")\b", _card
)

# ---------------------------------------------------------------------------------------------------------------- iban
_COUNTRIES = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24"
    "FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32"
    "LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24"
    "RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30"
)
IBAN_LENGTHS = {c.encode(): int(n) for c, n in re.findall(r"([A-Z]{2})([0-9]{2})", _COUNTRIES)}
"""Characters of an IBAN by country, from SWIFT's registry."""


def _iban(data: bytearray, start: int, end: int) -> Span | None:
    """The pattern may have run on into following words: take as many characters as the country says."""
    length, taken, at = IBAN_LENGTHS.get(bytes(data[start : start + 2]), 0), bytearray(), start
    while at < end and len(taken) < length:
        if data[at] != 0x20:
            taken.append(data[at])
        at += 1
    complete = bool(length) and len(taken) == length
    return (start, at) if complete and not _word(data, at) and mod97(bytes(taken)) else None


def _word(data: bytearray, at: int) -> bool:
    return at < len(data) and chr(data[at]).isascii() and chr(data[at]).isalnum()


IBAN = Detector(
    "iban",
    "a bank account number that passes mod 97, of a known country",
    rb"\b(?:" + b"|".join(IBAN_LENGTHS) + rb")[0-9]{2}(?: ?[0-9A-Z]{4}){2,7}(?: ?[0-9A-Z]{1,3})?\b",
    _iban,
)

# ------------------------------------------------------------------------------------------------------------ national
_NINO_NEVER = frozenset({b"BG", b"GB", b"NK", b"KN", b"TN", b"NT", b"ZZ"})


def _nino(data: bytearray, start: int, end: int) -> Span | None:
    return None if bytes(data[start : start + 2]).upper() in _NINO_NEVER else (start, end)


def _nhs(data: bytearray, start: int, end: int) -> Span | None:
    start = _begin(data, start)
    digits = _digits(data, start, end)
    code = end - start == 10 and _numbered(data, start)
    reserved = digits.startswith(b"999") or digits == b"0" * 10
    return None if code or reserved or _fraction(data, end) or not mod11(digits) else (start, end)


def _ssn(data: bytearray, start: int, end: int) -> Span | None:
    start = _begin(data, start)
    area, group, serial = bytes(data[start : start + 3]), bytes(data[start + 4 : start + 6]), bytes(data[end - 4 : end])
    never = area in (b"000", b"666") or area[0] == 0x39 or group == b"00" or serial == b"0000"
    return None if never or _numbered(data, start) else (start, end)


NINO = Detector(
    "nino",
    "a British national insurance number (prefix QQ is nobody's)",
    rb"(?i)\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]\b",
    _nino,
)
NHS = Detector(
    "nhs",
    "a British NHS number that passes mod 11: 943 476 5919, or ten digits of an issued range",
    _START + rb"(?:[46][0-9]{9}|70[0-9]{8}|94[0-9]{8}|[0-9]{3}(?: [0-9]{3} |-[0-9]{3}-)[0-9]{4})\b",
    _nhs,
)
SSN = Detector("ssn", "a US social security number, 078-05-1120", _START + rb"[0-9]{3}-[0-9]{2}-[0-9]{4}\b", _ssn)

# ------------------------------------------------------------------------------------------------------------- network
_OCTET = rb"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_HEXTET = rb"[0-9A-Fa-f]{1,4}"
_DOCUMENTATION = tuple(
    ipaddress.ip_network(n) for n in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
)


def _ipv4(data: bytearray, start: int, end: int) -> Span | None:
    """Not a longer dotted number, and not a browser's version (Chrome/120.0.0.0)."""
    start = _begin(data, start)
    versioned = re.fullmatch(rb"[A-Za-z]/", bytes(data[max(start - 2, 0) : start]))
    return None if versioned or _fraction(data, end) else _address(data, start, end)


def _address(data: bytearray, start: int, end: int) -> Span | None:
    try:
        address = ipaddress.ip_address(data[start:end].decode("latin-1"))
    except ValueError:
        return None
    nobody = address.is_loopback or address.is_unspecified or any(address in n for n in _DOCUMENTATION)
    return None if nobody else (start, end)


IPV4 = Detector(
    "ipv4",
    "an IPv4 address outside the documentation ranges",
    _START + _OCTET + rb"(?:\." + _OCTET + rb"){3}\b",
    _ipv4,
)
IPV6 = Detector(
    "ipv6",
    "an IPv6 address (unicast, local or multicast) outside 2001:db8::/32",
    rb"\b[23fF][0-9A-Fa-f]{3}(?:(?::" + _HEXTET + rb"){7}|(?::" + _HEXTET + rb"){0,6}::" + _HEXTET + rb"(?::" + _HEXTET
    + rb"){0,5})\b",
    _address,
)  # fmt: skip

DETECTORS: Mapping[str, Detector] = MappingProxyType(
    {d.name: d for d in (EMAIL, PHONE, CARD, IBAN, NINO, NHS, SSN, IPV4, IPV6)}
)
"""Every detector by name, in the order in which they are reported."""
