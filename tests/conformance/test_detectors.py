"""Recall and precision of the identifier detectors, over thousands of generated identifiers and any chunking."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from egress_assets.engine.scrub.detectors import DETECTORS, IBAN_LENGTHS, luhn, mod11
from egress_assets.engine.scrub.identifiers import WINDOW, Scanner, scan

Make = Callable[[random.Random], str]


def digits(rng: random.Random, count: int) -> str:
    return "".join(rng.choices("0123456789", k=count))


def email(rng: random.Random) -> str:
    local = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz0123456789._+-", k=rng.randint(1, 40)))
    hosts = ["example.org", "mail.example.co.uk", "x-y.travel", "müller.de", "invalid.com", "A.IO"]
    return f"a{local}@{rng.choice(hosts)}"


def phone(rng: random.Random) -> str:
    d = digits(rng, 11)
    return rng.choice(
        [f"+447{d[:9]}", f"+44 7{d[:3]} {d[3:9]}", f"+1-{2 + int(d[0]) % 8}{d[1:3]}-{d[3:6]}-{d[6:10]}",
         f"07{d[:9]}", f"07{d[:3]} {d[3:9]}", f"020 {d[:4]} {d[4:8]}", f"(0161) {d[:3]} {d[3:7]}",
         f"0033 {1 + int(d[0]) % 9} {d[:8]}", f"06 {d[:2]} {d[2:4]} {d[4:6]} {d[6:8]}",
         f"+49 {1 + int(d[0]) % 9}{d[1:3]} {d[3:10]}"]
    )  # fmt: skip


def card(rng: random.Random) -> str:
    prefix, length = rng.choice(
        [("4", 16), ("51", 16), ("2221", 16), ("37", 15), ("6011", 16), ("3528", 16), ("36", 14)]
    )
    body = prefix + digits(rng, length - len(prefix) - 1)
    number = next(body + str(n) for n in range(10) if luhn((body + str(n)).encode()))
    return number if length != 16 else rng.choice([number, " ".join(number[i : i + 4] for i in range(0, 16, 4))])


def iban(rng: random.Random) -> str:
    country = rng.choice(sorted(IBAN_LENGTHS))
    body = digits(rng, IBAN_LENGTHS[country] - 4)
    value = int("".join(str(int(c, 36)) for c in body + country.decode() + "00"))
    number = f"{country.decode()}{98 - value % 97:02d}{body}"
    return rng.choice([number, " ".join(number[i : i + 4] for i in range(0, len(number), 4))])


def nino(rng: random.Random) -> str:
    d = digits(rng, 6)
    return rng.choice([f"AB{d}C", f"JM {d[:2]} {d[2:4]} {d[4:]} D", f"we{d}a"])


def nhs(rng: random.Random) -> str:
    body = rng.choice("46") + digits(rng, 8)
    found = [body + str(n) for n in range(10) if mod11((body + str(n)).encode())]
    if not found:
        return nhs(rng)
    return rng.choice([found[0], f"{found[0][:3]} {found[0][3:6]} {found[0][6:]}"])


def ssn(rng: random.Random) -> str:
    return f"{rng.randint(1, 665):03d}-{rng.randint(1, 99):02d}-{rng.randint(1, 9999):04d}"


def ipv4(rng: random.Random) -> str:
    return f"{rng.randint(1, 126)}.{rng.randint(0, 255)}.{rng.randint(0, 255)}.{rng.randint(0, 255)}"


def ipv6(rng: random.Random) -> str:
    groups = [f"{rng.randrange(1, 65536):x}" for _ in range(7)]
    return rng.choice([f"2a00:{':'.join(groups)}", f"2a00:{groups[0]}::{groups[1]}", f"fe80::{':'.join(groups[:4])}"])


MAKERS: dict[str, Make] = {m.__name__: m for m in (email, phone, card, iban, nino, nhs, ssn, ipv4, ipv6)}


def filler(rng: random.Random) -> str:
    """A row of what shops keep: ids, prices, moments, digests, uuids, codes, measurements, plain words."""
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=rng.randrange(10**7), microseconds=rng.randrange(10**6))
    cells = [
        str(rng.randrange(10**7)), f"{rng.random() * 1000:.2f}", f"{at:%Y-%m-%d %H:%M:%S.%f}+00", f"{at:%d/%m/%Y}",
        str(int(at.timestamp())), str(int(at.timestamp() * 1e6)), rng.randbytes(32).hex(), "192.0.2.17", "00:12:59",
        str(uuid.UUID(int=rng.getrandbits(128))), repr(rng.random()), repr(rng.random() * 180), "-1.5e+10",
        f"SKU-{rng.randrange(10**6):08d}", f"ORD-{rng.randrange(10**9):010d}", "\\x" + rng.randbytes(20).hex(),
        f"{rng.randbytes(11).hex()}@example.invalid", f"v{rng.randrange(20)}.{rng.randrange(50)}.{rng.randrange(9)}",
        '"a, quoted ""note"" about shoes, 3 for 2"',
    ]  # fmt: skip
    return ",".join(cells) + "\n"


def test_every_detector_has_a_maker():
    assert set(MAKERS) == set(DETECTORS)


@pytest.mark.parametrize("detector", MAKERS)
def test_each_of_500_identifiers_is_found_on_its_own(detector):
    rng = random.Random(detector)
    missed = [v for v in (MAKERS[detector](rng) for _ in range(500)) if detector not in scan([f"x,{v},y\n".encode()])]
    assert missed == []


@pytest.fixture(scope="module")
def ordinary() -> list[str]:
    rng = random.Random(7)
    return [filler(rng) for _ in range(20_000)]


@pytest.mark.parametrize("size", [61, 4093, 65536, 3 * WINDOW])
@pytest.mark.parametrize("detector", MAKERS)
def test_planted_identifiers_are_each_found_once_in_any_chunking(detector, size, ordinary):
    """One kind at a time: the digits of a grouped IBAN may well hold a card number."""
    rng = random.Random(f"{detector} {size}")
    rows, planted = [], 0
    for row in ordinary[:8000]:
        rows.append(row)
        if rng.random() < 0.2:
            rows.append(f'7,"see {MAKERS[detector](rng)}"\n')
            planted += 1
    text, scanner = memoryview("".join(rows).encode()), Scanner([detector])
    for at in range(0, len(text), size):
        scanner.feed(text[at : at + size])
    assert scanner.finish()[detector]["count"] == planted > 1400


def test_nothing_is_found_in_twenty_thousand_ordinary_rows(ordinary):
    assert scan(row.encode() for row in ordinary) == {}
