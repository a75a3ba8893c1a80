"""How an item lies in a SQLite file: msgpack, so that bytes, booleans, None and empty things come back as they went in.

An integer beyond 64 bits is an extension of type 1 holding its decimal digits. Items that go in have been checked (`values`).
"""

import msgspec

from junctor.ports.table import Item, Value

_BIG_INTEGER = 1


def encode(item: Item) -> bytes:
    """Write a checked item."""
    try:
        return _encoder.encode(item)
    except OverflowError:
        return _encoder.encode({name: _with_big_integers(value) for name, value in item.items()})


def decode(data: bytes) -> dict[str, Value]:
    """Read an item that `encode` wrote. Raises msgspec.DecodeError."""
    return _decoder.decode(data)


def _with_big_integers(value: object) -> object:
    if isinstance(value, list):
        return [_with_big_integers(part) for part in value]
    if isinstance(value, dict):
        return {name: _with_big_integers(part) for name, part in value.items()}
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return msgspec.msgpack.Ext(_BIG_INTEGER, str(value).encode())
    return value


def _read_extension(code: int, data: memoryview) -> int:
    if code != _BIG_INTEGER:
        raise msgspec.DecodeError(f"an item holds an unknown extension {code}")
    return int(bytes(data))


_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[dict[str, Value]] = msgspec.msgpack.Decoder(ext_hook=_read_extension)
