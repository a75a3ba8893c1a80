"""Requests that nobody sane would send: random messages from the descriptors alone, and broken ones.

Knows no field by name, but for the plausible values that it is handed, and so stays true when the protos grow. What is valid
for protobuf is its whole concern; whether a server should take it is not. Everything follows from the given source of chance.
"""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tests.support import fuzz_bytes

Scalar = str | bytes | int | float | bool

TEXTS = (
    *(
        "",
        " ",
        "a",
        "null",
        "0",
        "\x00",
        "\x7f",
        "\n\r\t",
        "\u202eabc",
        "\ufeff",
        "\uffff",
        "e\u0301" * 40,
        "日本語",
        "👩‍👩‍👧‍👦",
    ),
    *(
        "\U0010ffff",
        "../../etc/passwd",
        "'; --",
        "{{7*7}}",
        "%s%n%d",
        "data: [DONE]\n\n",
        "\r\nauthorization: x",
        "{}",
        '"',
        "\\",
    ),
    *("x" * 257, "é" * 300, "😀" * 600),
)
LONG_TEXTS = ("y" * 300, "ü" * 3000, "🙂" * 600, "z" * 100_000)
INTEGERS = (0, 1, -1, 2, 127, 128, 255, 2**31 - 1, -(2**31), 2**32, 2**53, 2**63 - 1, -(2**63), 2**64 - 1)
NUMBERS = (0.0, -0.0, 0.5, 1.0, 2.0, -2.0, 1e-320, 1e308, -1e308, 1e16)
BROKEN_NUMBERS = (float("nan"), float("inf"), float("-inf"))
UNKNOWN_FIELD_NUMBERS = (50, 99, 1000, 18999, 536_870_911)
_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
LIST_BYTES_MAX = 1 << 20
"""So many bytes are more than any server takes; a list of more of them costs its maker much and shows nothing else."""

CHOSEN_FROM = 64
"""Among so many entries of a list a mutation chooses its place: those of one that was made long are equal, and a walk past all
of a hundred thousand would keep those waiting who share the loop."""

DEPTH_MAX = 8
WANTED_SHARE = 0.95


class FuzzMessages:
    """Makes and breaks messages. `plausible` gives, by a field's full name, values that a sane caller might use."""

    def __init__(self, rng: Random, plausible: Mapping[str, Sequence[Scalar]]) -> None:
        self._rng = rng
        self._plausible = plausible
        self._message_mutations: Sequence[Callable[[Message], None]] = (
            self.set_extreme,
            self.add_field,
            self.drop_field,
            self.inject_unknown,
            self.set_unknown_enum,
            self.lengthen_list,
            self.stretch_map,
            self.spoil_json,
        )

    def fill(self, message: Message, share: float, depth: int = 0) -> None:
        """Set about this share of a message's fields, and of theirs, to random valid values.

        Within another message, one of each oneof and what has plausible values is set nearly always: it is seldom optional.
        """
        wanted: set[str] = set()
        if depth:
            wanted.update(field.full_name for field in fields_of(message) if field.full_name in self._plausible)
            wanted.update(self._rng.choice(members) for members in _oneofs(message))
        for field in fields_of(message):
            if self._rng.random() < (WANTED_SHARE if field.full_name in wanted else share):
                self.set_field(message, field, share, depth)

    def set_field(self, message: Message, field: FieldDescriptor, share: float, depth: int = 0) -> None:
        """Set one field to a random valid value; a repeated one gets one to three more."""
        if _is_map(field):
            held = getattr(message, field.name)
            key, value = _map_entry(message, field)
            if value.message_type is None:
                held[self.scalar(key)] = self.scalar(value)
        elif field.message_type is not None:
            if depth < DEPTH_MAX:
                held = getattr(message, field.name)
                for _ in range(self._rng.randint(1, 3) if field.is_repeated else 1):
                    inner = held.add() if field.is_repeated else held
                    inner.SetInParent()
                    self.fill(inner, share, depth + 1)
        elif field.is_repeated:
            getattr(message, field.name).extend(self.scalar(field) for _ in range(self._rng.randint(1, 3)))
        else:
            setattr(message, field.name, self.scalar(field))

    def scalar(self, field: FieldDescriptor) -> Scalar:
        """Return a random valid value of a scalar field: a plausible one as a rule, where there are any."""
        rng, kind = self._rng, field.cpp_type
        known = self._plausible.get(field.full_name)
        if known and rng.random() < 0.9:
            return rng.choice(known)
        if kind == FieldDescriptor.CPPTYPE_STRING:
            text = rng.choice(TEXTS) if rng.random() < 0.5 else self._text()
            return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text
        if kind == FieldDescriptor.CPPTYPE_BOOL:
            return rng.random() < 0.5
        if kind == FieldDescriptor.CPPTYPE_ENUM:
            return rng.choice(_enum_numbers(field))
        if kind in _RANGES:
            least, most = _RANGES[kind]
            return min(max(rng.choice(INTEGERS) if rng.random() < 0.5 else rng.randint(-10, 300), least), most)
        return rng.choice((*NUMBERS, *BROKEN_NUMBERS)) if rng.random() < 0.5 else rng.uniform(-3, 3)

    def mutated(self, message: Message) -> tuple[str, bytes]:
        """Break a copy of a message in one to three ways, of which the last may be done to its bytes; tell what was done."""
        spoiled = type(message)()
        spoiled.CopyFrom(message)
        done: list[str] = []
        for _ in range(self._rng.choice((0, 1, 1, 1, 2))):
            mutate = self._rng.choice(self._message_mutations)
            mutate(spoiled)
            done.append(mutate.__name__)
        body = spoiled.SerializeToString()
        if not done or self._rng.random() < 0.2:
            mutate_bytes = self._rng.choice(fuzz_bytes.MUTATIONS)
            body = mutate_bytes(self._rng, body)
            done.append(mutate_bytes.__name__)
        return "+".join(done), body

    def set_extreme(self, message: Message) -> None:
        """Give one number, text or bytes field somewhere an extreme value."""
        found = [(held, field) for held in _places(message) for field in fields_of(held) if _is_plain(field)]
        if not found:
            return
        held, field = self._rng.choice(found)
        if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            text = self._rng.choice(TEXTS) * self._rng.choice((1, 1, 1, 50))
            setattr(held, field.name, text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text)
        elif field.cpp_type in _RANGES:
            least, most = _RANGES[field.cpp_type]
            setattr(held, field.name, self._rng.choice([number for number in INTEGERS if least <= number <= most]))
        else:
            setattr(held, field.name, self._rng.choice((*NUMBERS, *BROKEN_NUMBERS, *BROKEN_NUMBERS)))

    def add_field(self, message: Message) -> None:
        """Set one field somewhere that may have been absent."""
        held = self._rng.choice(_places(message))
        if fields := fields_of(held):
            self.set_field(held, self._rng.choice(fields), 0.3)

    def drop_field(self, message: Message) -> None:
        """Clear one field somewhere that is set."""
        held = self._rng.choice(_places(message))
        if held.ListFields():
            field, _ = self._rng.choice(held.ListFields())
            held.ClearField(field.name)

    def inject_unknown(self, message: Message) -> None:
        """Put a field with a number that nobody knows somewhere, of any wire type."""
        number = self._rng.choice(UNKNOWN_FIELD_NUMBERS)
        held = self._rng.choice(_places(message))
        held.MergeFromString(fuzz_bytes.field(self._rng, number, self._rng.choice((0, 1, 2, 5))))

    def set_unknown_enum(self, message: Message) -> None:
        """Give one enum field somewhere a value that its enum does not have."""
        found = [
            (held, field)
            for held in _places(message)
            for field in fields_of(held)
            if field.enum_type is not None and not field.is_repeated
        ]
        if found:
            held, field = self._rng.choice(found)
            setattr(held, field.name, self._rng.choice((77, 2**31 - 1, -1, -(2**31))))

    def lengthen_list(self, message: Message) -> None:
        """Make one list somewhere longer than any caller needs."""
        found = [
            (held, field) for held in _places(message) for field in fields_of(held) if field.is_repeated and not _is_map(field)
        ]
        if found:
            held, field = self._rng.choice(found)
            entries = getattr(held, field.name)
            if not entries:
                self.set_field(held, field, 0.3)
            number = self._rng.choice((5, 20, 70, 300, 5000, 100_000))
            entries.extend([entries[0]] * min(number, LIST_BYTES_MAX // max(1, _size(entries[0]))))

    def stretch_map(self, message: Message) -> None:
        """Give one map of texts somewhere an entry that is longer than its readers may expect."""
        found = [
            getattr(held, field.name)
            for held in _places(message)
            for field in fields_of(held)
            if _is_map(field) and all(part.cpp_type == FieldDescriptor.CPPTYPE_STRING for part in _map_entry(held, field))
        ]
        if found:
            self._rng.choice(found)[self._rng.choice((*TEXTS, *LONG_TEXTS * 8))] = self._rng.choice(LONG_TEXTS)

    def spoil_json(self, message: Message) -> None:
        """Give one text field somewhere JSON, or what looks like it: deep, long, doubled, not finite, cut."""
        found = [
            (held, field)
            for held in _places(message)
            for field in fields_of(held)
            if field.name.endswith("_json") and not field.is_repeated
        ]
        if found:
            held, field = self._rng.choice(found)
            setattr(held, field.name, self._json())

    def _text(self) -> str:
        length = int(self._rng.paretovariate(0.8))
        return "".join(chr(self._letter()) for _ in range(min(length, 400)))

    def _letter(self) -> int:
        code = self._rng.randrange(0x20, 0x7F) if self._rng.random() < 2 / 3 else self._rng.randrange(0x110000)
        return 0x20 if 0xD800 <= code < 0xE000 else code

    def _json(self) -> str:
        depth = self._rng.choice((3, 31, 32, 33, 63, 64, 65, 200, 5000))
        return self._rng.choice(
            (
                '{"a":' * depth + "1" + "}" * depth,
                '{"a":' + "[" * (depth - 1) + "]" * (depth - 1) + "}",
                "[" * depth,
                '{"a":"' + "[" * depth + '"}',
                "[" * 70 + '"' + '\\"' * 30_000,
                '{"a":1,"a":2,"A":3}',
                '{"model":"other","\\u0073tream":true}',
                '{"a":1e999}',
                '{"a":NaN}',
                '{"a":' + "9" * 5000 + "}",
                '{"a":"\\ud800"}',
                '{"a":1} {"b":2}',
                '{"a":1',
                '\ufeff{"a":1}',
                '{"' + "k" * 5000 + '":[]}',
            )
        )


def messages_in(message: Message, entries: int | None = None) -> list[Message]:
    """Return a message and every message set within it, but for those in maps; of each list its first `entries` alone."""
    found = [message]
    for field, value in message.ListFields():
        if field.message_type is not None and not _is_map(field):
            for inner in value[:entries] if field.is_repeated else (value,):
                found += messages_in(inner, entries)
    return found


def fields_of(message: Message) -> Sequence[FieldDescriptor]:
    """Return the descriptors of all fields of a message, set or not."""
    return cast("Sequence[FieldDescriptor]", message.DESCRIPTOR.fields)


def _places(message: Message) -> list[Message]:
    return messages_in(message, CHOSEN_FROM)


def _size(entry: Message | Scalar) -> int:
    if isinstance(entry, Message):
        return entry.ByteSize()
    return len(entry.encode() if isinstance(entry, str) else entry) if isinstance(entry, str | bytes) else 1


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _map_entry(message: Message, field: FieldDescriptor) -> Sequence[FieldDescriptor]:
    return fields_of(getattr(message, field.name).GetEntryClass()())


def _oneofs(message: Message) -> list[list[str]]:
    """Return the names of the members of each oneof, but for those that stand for a single optional field."""
    groups = ([field.full_name for field in oneof.fields] for oneof in message.DESCRIPTOR.oneofs)
    return [names for names in groups if len(names) > 1]


def _enum_numbers(field: FieldDescriptor) -> Sequence[int]:
    return () if field.enum_type is None else [value.number for value in field.enum_type.values]


def _is_plain(field: FieldDescriptor) -> bool:
    kinds = (FieldDescriptor.CPPTYPE_BOOL, FieldDescriptor.CPPTYPE_ENUM, FieldDescriptor.CPPTYPE_MESSAGE)
    return not field.is_repeated and field.cpp_type not in kinds
