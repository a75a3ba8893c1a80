"""Values and items in DynamoDB's own form, exactly: integers as decimal digits, bytes as bytes, a bool never as a number.

The form is that of the low-level API (AttributeValue): one-key mappings named after a type. Bytes may come back as the base64
in which they travel. Numbers that are no integers, and sets, were not written by Junctor and are refused.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import TypeAlias

from junctor.ports.table import Item, Value

AttributeValue: TypeAlias = Mapping[str, object]

_AS_THEY_ARE: dict[type, str] = {str: "S", bytes: "B", bool: "BOOL"}


def encode_value(value: Value) -> dict[str, object]:
    """Write a checked value."""
    if value is None:
        return {"NULL": True}
    if isinstance(value, list):
        return {"L": [encode_value(part) for part in value]}
    if isinstance(value, dict):
        return {"M": encode_item(value)}
    if type(value) is int:
        return {"N": str(value)}
    return {_AS_THEY_ARE[type(value)]: value}


def encode_item(item: Item) -> dict[str, dict[str, object]]:
    """Write a checked item."""
    # Most are texts and numbers, and an item has many.
    return {
        name: {"S": value} if (kind := type(value)) is str else {"N": str(value)} if kind is int else encode_value(value)
        for name, value in item.items()
    }


def decode_value(attribute: AttributeValue) -> Value:
    """Read a value. Raises ValueError for what Junctor never writes."""
    ((kind, content),) = attribute.items()
    if kind == "S" and isinstance(content, str):
        return content
    if kind == "N":
        return _integer(str(content))
    if kind == "B" and isinstance(content, str):
        return _bytes(content)
    if kind == "L" and isinstance(content, list):
        return [decode_value(part) for part in content]
    if kind == "M" and isinstance(content, dict):
        return decode_item(content)
    return _plain(kind, content)


def decode_item(attributes: Mapping[str, AttributeValue]) -> dict[str, Value]:
    """Read an item. Raises ValueError as `decode_value` does."""
    return {name: decode_value(attribute) for name, attribute in attributes.items()}


def _plain(kind: str, content: object) -> Value:
    if kind == "NULL":
        return None
    if isinstance(content, (bytes, bool)) and _AS_THEY_ARE[type(content)] == kind:
        return content
    raise ValueError(f"a table holds a value of the type {kind}, which is not understood")


def _integer(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:
        raise ValueError("a table holds a number that is not an integer") from None


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("a table holds bytes that cannot be read") from None
