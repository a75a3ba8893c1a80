"""Values and items in DynamoDB's own form, exactly: integers as decimal digits, bytes as bytes, a bool never as a number.

The form is that of the low-level API (AttributeValue): one-key mappings named after a type. They are written as mappings, which
every sender can carry, and read as structs, which an answer's decoder makes of them at once: that takes a quarter of the time.
Numbers that are no integers, and sets, were not written by Junctor and are refused.
"""

from collections.abc import Mapping
from typing import TypeAlias

from msgspec import Struct, field

from junctor.ports.table import Item, Value


class AttributeValue(Struct, frozen=True, gc=False):
    """A value as an answer has it, under the one of its names that is there (API reference: AttributeValue)."""

    text: str | None = field(default=None, name="S")
    number: str | None = field(default=None, name="N")
    data: bytes | None = field(default=None, name="B")
    truth: bool | None = field(default=None, name="BOOL")
    nothing: bool | None = field(default=None, name="NULL")
    parts: list["AttributeValue"] | None = field(default=None, name="L")
    named: dict[str, "AttributeValue"] | None = field(default=None, name="M")


Attributes: TypeAlias = dict[str, AttributeValue]
"""An item or key as an answer has it."""

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
    if attribute.number is not None:
        return _integer(attribute.number)
    for plain in (attribute.text, attribute.truth, attribute.data):
        if plain is not None:
            return plain
    if attribute.parts is not None:
        return [decode_value(part) for part in attribute.parts]
    if attribute.named is not None:
        return decode_item(attribute.named)
    if attribute.nothing:
        return None
    raise ValueError("a table holds a value of a type that is not understood")


def decode_item(attributes: Mapping[str, AttributeValue]) -> dict[str, Value]:
    """Read an item. Raises ValueError as `decode_value` does."""
    return {
        name: text if (text := attribute.text) is not None else decode_value(attribute)
        for name, attribute in attributes.items()
    }


def _integer(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:
        raise ValueError("a table holds a number that is not an integer") from None
