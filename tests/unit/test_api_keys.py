"""API keys: their form as security.md has it, every slip of the pen refused, and nothing stored that opens anything."""

import hashlib
import hmac
import re
import string
import zlib

import pytest

from junctor.policy import api_keys

LOOKUP, SECRET = bytes(range(8)), bytes(range(32))
KEY = api_keys.mint(LOOKUP, SECRET)
CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
TO_PYTHON = str.maketrans(CROCKFORD, "0123456789abcdefghijklmnopqrstuv")


def test_a_key_has_the_form_that_is_promised() -> None:
    """Scanners for leaked secrets would not recognise our keys."""
    assert re.fullmatch(rf"jk-[{CROCKFORD}]{{12}}-[{CROCKFORD}]{{52}}-[{CROCKFORD}]{{7}}", KEY)
    lookup, secret, crc = (int(part.translate(TO_PYTHON), 32) for part in KEY[3:].split("-"))
    assert lookup == int.from_bytes(LOOKUP) & (2**60 - 1)
    assert secret == int.from_bytes(SECRET)
    assert crc == zlib.crc32(KEY[3:68].encode())


@pytest.mark.parametrize("fill", [0x00, 0xFF, 0x5A])
def test_a_minted_key_parses(fill: int) -> None:
    """A customer's new key would not open anything."""
    lookup, secret = bytes([fill]) * api_keys.LOOKUP_BYTES, bytes([fill]) * api_keys.SECRET_BYTES
    text = api_keys.mint(lookup, secret)
    parsed = api_keys.parse(text)
    assert parsed is not None
    assert parsed.lookup_id == text[3:15]
    assert parsed.tag == text[-7:]
    assert parsed.material == text.encode()


def test_a_key_that_is_given_a_new_secret_keeps_its_id() -> None:
    """Rotating a key would make another one, without its limits."""
    again = api_keys.remint(KEY[3:15], bytes(32))
    parsed = api_keys.parse(again)
    assert parsed is not None
    assert (parsed.lookup_id, parsed.material) == (KEY[3:15], again.encode())
    assert api_keys.remint(KEY[3:15], SECRET) == KEY


def test_every_bit_of_the_secret_is_in_the_key() -> None:
    """Keys would be easier to guess than they look."""
    for bit in range(256):
        secret = (int.from_bytes(SECRET) ^ (1 << bit)).to_bytes(32)
        assert api_keys.mint(LOOKUP, secret)[16:68] != KEY[16:68]


def test_every_slip_of_one_character_is_refused() -> None:
    """A mistyped key would be looked up, or even taken for another."""
    letters = string.ascii_letters + string.digits + string.punctuation + " é٣\x00"
    for place, right in enumerate(KEY):
        for wrong in letters:
            if wrong != right:
                assert api_keys.parse(KEY[:place] + wrong + KEY[place + 1 :]) is None


def test_every_lost_doubled_or_swapped_character_is_refused() -> None:
    """A key copied with one character too few would be looked up."""
    for place in range(len(KEY)):
        assert api_keys.parse(KEY[:place] + KEY[place + 1 :]) is None
        assert api_keys.parse(KEY[:place] + KEY[place] + KEY[place:]) is None
        swapped = KEY[:place] + KEY[place + 1 : place + 2] + KEY[place] + KEY[place + 2 :]
        assert swapped == KEY or api_keys.parse(swapped) is None


@pytest.mark.parametrize(
    "text", ["", "jk-", KEY.upper(), f" {KEY}", f"{KEY}\n", "x" * 1_000_000, "-" * len(KEY), "\ud800" * len(KEY)]
)
def test_what_is_no_key_is_refused(text: str) -> None:
    """Text from the network would reach the table as a key."""
    assert api_keys.parse(text) is None


def test_the_digest_is_an_hmac_of_the_whole_key_under_the_pepper() -> None:
    """Whoever reads the table could try keys without the pepper."""
    parsed = api_keys.parse(KEY)
    assert parsed is not None
    found = api_keys.digest(b"pepper", parsed.material)
    assert found == hmac.new(b"pepper", KEY.encode(), hashlib.sha256).digest()
    assert found != api_keys.digest(b"salt", parsed.material)
    assert api_keys.same(found, bytes(found))
    assert not api_keys.same(found, found[:-1] + bytes([found[-1] ^ 1]))


def test_a_digest_is_no_credential() -> None:
    """Whoever reads the table could call with what he found there."""
    digest = api_keys.digest(b"pepper", KEY.encode())
    assert api_keys.parse(digest.hex()) is None
    assert api_keys.parse(digest.decode("latin-1")) is None
    forged = api_keys.mint(LOOKUP, digest)
    assert api_keys.digest(b"pepper", forged.encode()) != digest
