"""The scanner finds what identifies people, wherever chunks end, and nothing in what masks and shops write."""

from __future__ import annotations

import random
import re

import pytest

from egress_assets.engine.errors import CatalogError
from egress_assets.engine.scrub.detectors import DETECTORS, luhn, mod11, mod97
from egress_assets.engine.scrub.identifiers import AHEAD, BEHIND, WINDOW, Scanner, scan

FOUND = {
    "email": [
        "ann@example.org", "Ann.O'Neil+tag@mail.example.co.uk", "jörg@müller.de", "a@b.invalidate", "x%40example.com",
        "x@example.invalid.com", "x@invalid.example", "x@a.xn--p1ai", "UPPER@EXAMPLE.COM", "a@b.in", "a@b.inv",
    ],
    "phone": [
        "+447700900123", "+44 7700 900123", "+1 (212) 555-0123", "+49-30-1234567", "07700900123", "07700 900123",
        "07700 900 123", "020 7946 0958", "(020) 7946 0958", "0161 496 0123", "01632 960123", "06 12 34 56 78",
        "030/1234567", "212-555-0123", "(212) 555-0123", "212.555.0123", "0044 7700 900123", "00447700900123",
    ],
    "card": [
        "4111111111111111", "4111 1111 1111 1111", "4111-1111-1111-1111", "5555555555554444", "378282246310005",
        "3782 822463 10005", "6011111111111117", "3530111333300000", "30569309025904", "2223003122003222",
    ],
    "iban": ["GB82WEST12345698765432", "GB82 WEST 1234 5698 7654 32", "DE89370400440532013000", "NO9386011117947"],
    "nino": ["AB123456C", "AB 12 34 56 C", "ab123456d"],
    "nhs": ["943 476 5919", "943-476-5919", "4010232137"],
    "ssn": ["078-05-1120"],
    "ipv4": ["8.8.8.8", "10.1.2.3", "255.255.255.254"],
    "ipv6": ["2a00:1450:4009:81f::200e", "fe80::1ff:fe23:4567:890a", "2001:4860:4860:0:0:0:0:8888"],
}  # fmt: skip
PASSED = {
    "email": ["0a1b2c3d4e5f60718293a4@example.invalid", "x@EXAMPLE.INVALID", "x@sub.example.invalid", "@handle", "a@b"],
    "phone": [
        "+999 1234 567890", "2026-11-20 02:15:00+00", "2026-11-20 02:15:00+10:00", "1700000000", "0000012345",
        "12.0123456789", "ORD-0123456789", "1e+12345678", "00012345678905", "0.0712345678", "01-02-2026", "02:15:00",
        "4f1b0c12-0123-4012-8123-012345678901", "UTC+1 2026-11-20 02:15",
    ],
    "card": ["4111111111111112", "0000000000000000", "1700000000000000", "51.4111111111111111", "4111111111111111.25"],
    "iban": ["GB82WEST12345698765431", "ZZ82WEST12345698765432", "GB82WEST1234569876543", "SKU-00042"],
    "nino": ["QQ123456C", "GB123456A", "AB123456E", "ZZ123456A"],
    "nhs": ["943 476 5918", "999 000 0000", "1234567890", "2147483647", "3.4010232137", "ORD-4010232137"],
    "ssn": ["000-12-3456", "666-12-3456", "900-12-3456", "078-00-1120", "078-05-0000", "2026-11-20"],
    "ipv4": ["192.0.2.7", "198.51.100.1", "203.0.113.255", "127.0.0.1", "1.2.3", "1.2.3.4.5", "Chrome/120.0.0.0"],
    "ipv6": ["2001:db8::1", "::1", "02:15:00", "std::string", "a::b", "00:1b:44:11:3a:b7"],
}  # fmt: skip


AROUND = ["{}\n", "1,{},2\n", 'x,"call {}, please"\n', '{{"a": "{}"}}', "{}"]


@pytest.mark.parametrize("detector", FOUND)
def test_an_identifier_is_found_once_in_any_field(detector):
    for value in FOUND[detector]:
        for text in (around.format(value).encode() for around in AROUND):
            found = scan([text], [detector])
            assert found[detector]["count"] == 1, value
            assert found[detector]["offsets"] == [text.index(value.encode())]
            assert detector in scan([text])


@pytest.mark.parametrize("detector", PASSED)
def test_what_belongs_to_nobody_is_passed(detector):
    for value in PASSED[detector]:
        assert [scan([around.format(value).encode()], [detector]) for around in AROUND] == [{}] * len(AROUND), value


def test_every_detector_has_examples_of_both_kinds():
    assert set(FOUND) == set(PASSED) == set(DETECTORS)


def test_a_rejected_candidate_does_not_hide_what_begins_inside_it():
    assert scan([b"ref 4999 4111 1111 1111 1111,"], ["card"])["card"]["offsets"] == [9]
    assert scan([b"0123 4567 020 7946 0958,"], ["phone"])["phone"]["offsets"] == [10]


def test_findings_hold_shapes_and_never_values():
    found = scan([b"x,ann.smith42@example.org,\n+44 7700 900123\n"])
    assert found["email"] == {"count": 1, "offsets": [2], "shapes": ["aaa.aaaaa99@aaaaaaa.aaa"]}
    assert found["phone"]["shapes"] == ["+99 9999 999999"]


def test_at_most_20_offsets_are_kept_and_all_are_counted():
    found = scan([b"ann@example.org\n" * 500])["email"]
    assert (found["count"], len(found["offsets"]), found["shapes"]) == (500, 20, ["aaa@aaaaaaa.aaa"])
    assert found["offsets"] == [16 * n for n in range(20)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000])
def test_any_chunking_gives_the_same_findings(size):
    rng = random.Random(size)
    text = "\n".join(rng.choice(v) for v in list(FOUND.values()) * 4).encode()
    chunks = [text[at : at + size] for at in range(0, len(text), size)]
    assert scan(chunks) == scan([text])


SMALL = 1024  # a window's size
FILLED = SMALL + AHEAD + BEHIND  # the first window is scanned when this much is buffered
ACCEPTED = FILLED - AHEAD  # and what begins before here is taken from it


def around_a_border(planted: bytes, at: int) -> dict:
    text = b"." * (at - 1) + b"\n" + planted + b"\n" + b"." * 2000
    scanner = Scanner(window=SMALL)
    scanner.feed(text[:FILLED])
    scanner.feed(text[FILLED:])
    return {name: (found["count"], found["offsets"]) for name, found in scanner.finish().items()}


@pytest.mark.parametrize("border", [ACCEPTED - BEHIND, ACCEPTED, FILLED])
def test_an_identifier_across_a_window_is_found_once(border):
    planted = b"first.last@example.org,+44 7700 900123,4111 1111 1111 1111"
    for at in range(border - len(planted) - 3, border + 4):
        assert around_a_border(planted, at) == {"email": (1, [at]), "phone": (1, [at + 23]), "card": (1, [at + 39])}


@pytest.mark.parametrize("border", [ACCEPTED - BEHIND, ACCEPTED, FILLED])
def test_what_stands_before_a_border_still_counts_as_context(border):
    planted = b"ORD-0123456789,52.0123456789,x4111111111111111,GB0123456789"
    for at in range(border - len(planted) - 3, border + 4):
        assert around_a_border(planted, at) == {}


def test_the_longest_address_is_reported_whole_across_a_border():
    address = b"l" * 63 + b"@" + b"d" * 60 + b".org"
    for at in range(ACCEPTED - 64, ACCEPTED + 2):
        assert around_a_border(address, at)["email"] == (1, [at])


def test_a_long_stream_keeps_two_windows_at_most():
    scanner = Scanner()
    for _ in range(40):
        scanner.feed(b"a quiet line of text\n" * 5000)
        assert len(scanner._buffer) < 2 * WINDOW
    assert scanner.finish() == {}


def test_detectors_can_be_chosen_and_none_finds_nothing():
    text = b"ann@example.org 07700900123"
    assert set(scan([text], ["phone"])) == {"phone"}
    assert scan([text], []) == {}
    with pytest.raises(CatalogError, match="detector 'emial' is unknown"):
        Scanner(["emial"])


def test_check_digits_agree_with_published_examples():
    assert luhn(b"79927398713")
    assert not luhn(b"79927398710")
    assert mod97(b"GB82WEST12345698765432")
    assert mod11(b"9434765919")
    assert not mod11(b"9434765918")


def test_patterns_hold_no_unbounded_repetition_beyond_what_is_kept():
    """AHEAD bytes are kept for the next window: no identifier may be longer, or it would be cut in two."""
    for detector in DETECTORS.values():
        unbounded = re.findall(rb"[^\\\[]([*+])", re.sub(rb"\[[^\]]*\]", b"x", detector.pattern))
        assert not unbounded or detector.name == "email"
