"""Bytes that may or may not be a message: noise of several kinds, and what can befall a message on its way.

Knows protobuf's encoding and no schema. Everything follows from the given source of chance.
"""

from random import Random


def noise(rng: Random) -> tuple[str, bytes]:
    """Return bytes that nobody wrote with protobuf, and what kind of noise they are."""
    make = rng.choice(NOISES)
    return make.__name__, make(rng)


def varint(number: int) -> bytes:
    """Write a number that is not negative as a varint, of any length (protobuf's encoding, "Base 128 Varints")."""
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*written, number))


def field(rng: Random, number: int, wire_type: int) -> bytes:
    """Write one field with a random value; wire type 0 is a varint, 1 and 5 are fixed, 2 has a length."""
    tag = varint(number << 3 | wire_type)
    if wire_type == 0:
        return tag + varint(rng.getrandbits(rng.choice((1, 7, 32, 64))))
    if wire_type in {1, 5}:
        return tag + rng.randbytes(8 if wire_type == 1 else 4)
    return tag + varint(length := rng.randrange(20)) + rng.randbytes(length)


def pure_noise(rng: Random) -> bytes:
    """Write bytes by chance."""
    return rng.randbytes(rng.choice((0, 1, 2, 3, 10, 100, 1000, 20_000)))


def field_soup(rng: Random) -> bytes:
    """Write well-formed fields of random numbers and types."""
    return b"".join(field(rng, rng.randint(1, 40), rng.choice((0, 1, 2, 2, 2, 5))) for _ in range(rng.randint(1, 60)))


def huge_varints(rng: Random) -> bytes:
    """Write varints longer than any number, as tag, as value, as length."""
    long = b"\xff" * rng.choice((8, 9, 10, 11, 200)) + b"\x01"
    return rng.choice(
        (long, varint(rng.randint(1, 31) << 3) + long, varint(rng.randint(1, 31) << 3 | 2) + long, b"\x0a" + long)
    )


def nested_groups(rng: Random) -> bytes:
    """Write groups within groups, past the decoder's depth and perhaps not all closed."""
    depth = rng.choice((1, 5, 99, 100, 101, 5000))
    start, end = varint(number := rng.randint(1, 2000) << 3 | 3), varint(number + 1)
    return start * depth + end * (depth if rng.random() < 0.6 else rng.randrange(depth))


def nested_messages(rng: Random) -> bytes:
    """Write lengths within lengths."""
    body = rng.randbytes(rng.randrange(4))
    for _ in range(rng.choice((3, 30, 100, 1000))):
        body = varint(rng.choice((1, 2, 3)) << 3 | 2) + varint(len(body)) + body
    return body


def truncated(rng: Random) -> bytes:
    """Write a length and fewer bytes than it promises."""
    return (
        varint(rng.randint(1, 3) << 3 | 2)
        + varint(rng.choice((1, 100, 2**31 - 1, 2**32 - 1)))
        + rng.randbytes(rng.randrange(9))
    )


def not_utf8(rng: Random) -> bytes:
    """Write a string that is not UTF-8 where a request has its model or models."""
    text = rng.choice((b"\xff\xfe", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"ok\x80"))
    inner = varint(rng.choice((1, 2)) << 3 | 2) + varint(len(text)) + text
    return b"\x0a" + varint(len(inner)) + inner


def flip_bits(rng: Random, body: bytes) -> bytes:
    """Flip one to eight bits."""
    spoiled = bytearray(body)
    for _ in range(rng.randint(1, 8) if body else 0):
        spoiled[rng.randrange(len(spoiled))] ^= 1 << rng.randrange(8)
    return bytes(spoiled)


def replace_byte(rng: Random, body: bytes) -> bytes:
    """Replace one byte."""
    place = rng.randrange(len(body) + 1)
    return body[:place] + rng.randbytes(1) + body[place + 1 :]


def cut(rng: Random, body: bytes) -> bytes:
    """Leave the end out."""
    return body[: rng.randrange(len(body) + 1)]


def drop_slice(rng: Random, body: bytes) -> bytes:
    """Leave a slice out."""
    start, end = _slice(rng, body)
    return body[:start] + body[end:]


def repeat_slice(rng: Random, body: bytes) -> bytes:
    """Repeat a slice, once or often."""
    start, end = _slice(rng, body)
    return body[:end] + body[start:end] * rng.choice((1, 2, 30)) + body[end:]


def swap_slices(rng: Random, body: bytes) -> bytes:
    """Turn the order of three slices round."""
    start, end = _slice(rng, body)
    return body[end:] + body[start:end] + body[:start]


def insert_noise(rng: Random, body: bytes) -> bytes:
    """Put a few random bytes in."""
    place = rng.randrange(len(body) + 1)
    return body[:place] + rng.randbytes(rng.randint(1, 12)) + body[place:]


def append_field(rng: Random, body: bytes) -> bytes:
    """Add a field at the end that the schema may or may not have."""
    return body + field(rng, rng.randint(1, 40), rng.choice((0, 1, 2, 5)))


def double(_: Random, body: bytes) -> bytes:
    """Write the message twice, which protobuf merges."""
    return body + body


def _slice(rng: Random, body: bytes) -> tuple[int, int]:
    first, second = rng.randrange(len(body) + 1), rng.randrange(len(body) + 1)
    return min(first, second), max(first, second)


MUTATIONS = (*(flip_bits, replace_byte, cut, drop_slice, repeat_slice, swap_slices, insert_noise, append_field, double),)
NOISES = (pure_noise, field_soup, huge_varints, nested_groups, nested_messages, truncated, not_utf8)
