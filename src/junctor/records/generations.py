"""A generation as its slot's item: at most 1,000 bytes as DynamoDB counts, so that each write costs one unit.

What the key already says (account, lease, number, and so the id) is not stored again. Times are stored as they are in the noun.
What no condition and no total looks at lies packed: how a call was asked in `asked`, which is written when its slot is opened,
what answered it in `answer`, which is written when it is settled. Both are JSON arrays, in strings. As attributes of their own
each of their values would be named, checked and billed in every write.
"""

from typing import Final

import msgspec
from msgspec import Struct

from junctor.domain.call import Outcome
from junctor.domain.generation import Generation
from junctor.domain.lease import Slot, SlotState
from junctor.domain.money import NanoUsd
from junctor.ports.table import PARTITION, SORT, Change, Condition, Equals, Item, Key, Query, Set, Update, Value
from junctor.records import ids, keys

KEPT_S = 400 * 24 * 3600
"""How long after its lease was acquired a slot is kept."""

UPSTREAM_ID_MAX = 64
"""Bytes kept of a provider's own id of the generation; some are longer than a slot has room for."""

_OPEN: Final = SlotState.OPEN.value
_STILL_OPEN: Final[tuple[Condition, ...]] = (Equals("state", _OPEN),)
_SETTLED: Final = Set("state", SlotState.SETTLED.value)


class _Asked(Struct, frozen=True, array_like=True):
    """How a call was asked. Its form is stored: a field may be added at the end, with a default, and none taken away."""

    requested_model: str
    started_at_ms: int
    deadline_at_ms: int
    streamed: bool


class _Answer(Struct, frozen=True, array_like=True):
    """What answered a call, and what it consumed: from `input_tokens` on, a Usage. Its form is stored, as that of `_Asked`."""

    model: str
    provider: str
    endpoint: str
    price_version: str
    upstream_id: str
    finish_reason: str | None
    time_to_first_token_ms: int | None
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    estimated: bool
    audio_input_tokens: int
    audio_output_tokens: int
    accepted_prediction_tokens: int
    rejected_prediction_tokens: int


_NOWHERE: Final = ("", "", "", "")
_encode: Final = msgspec.json.Encoder().encode
_asked_in: Final = msgspec.json.Decoder(_Asked).decode
_answer_in: Final = msgspec.json.Decoder(_Answer).decode


def item(opened: Generation, key: Key | None = None) -> Item:
    """Return the item of a slot that is opened for a generation. `key`: where it lies, from those who need that themselves."""
    place = key or keys.slot(opened.slot)
    asked = _encode((opened.requested_model, opened.started_at_ms, opened.deadline_at_ms, opened.streamed))
    return {
        PARTITION: place.partition,
        SORT: place.sort,
        "ttl": _expires_at(opened.slot.lease),
        "state": _OPEN,
        "api_key": opened.api_key,
        "hold_nanousd": opened.hold_nanousd,
        "asked": asked.decode(),
    }


def generation_of(found: Item, place: Slot) -> Generation:
    """Return the generation in a slot's item. Raises msgspec.DecodeError."""
    told = msgspec.structs.asdict(_asked_in(str(found["asked"])))
    if "answer" in found:
        answer = _answer_in(str(found["answer"]))
        told |= msgspec.structs.asdict(answer) | {"finish_reason": answer.finish_reason or ""}
    named = {"id": ids.generation_id(place), "slot": msgspec.to_builtins(place)}
    return msgspec.convert({**found, **told, **named}, Generation)


def state_of(found: Item) -> SlotState:
    """Return how far a slot is."""
    return SlotState(found["state"])


def number_of(found: Item) -> int:
    """Return a slot's number."""
    return int(str(found[SORT]).removeprefix(keys.SLOT_PREFIX))


def cost_of(found: Item) -> NanoUsd:
    """Return what a slot that has ended took out of its lease."""
    cost = found.get("cost_nanousd", 0)
    return cost if isinstance(cost, int) else 0


def unused(place: Slot, state: SlotState) -> Item:
    """Return the item of a slot that never held a generation: SEALED by a closer, or VOID as its owner did without it."""
    return {**_place(place), "state": state.value}


def expiring(place: Slot, now_ms: int) -> Update:
    """Return the update by which a closer ends a slot that is still OPEN, at no cost and for ever."""
    changes = (Set("state", SlotState.EXPIRED.value), Set("cost_nanousd", 0), Set("ended_at_ms", now_ms))
    return Update(keys.slot(place), _STILL_OPEN, changes)


def all_of(account: str, lease: str, after: str | None) -> Query:
    """Return the query for a lease's slots in order."""
    partition = keys.slot(Slot(account, lease, 0)).partition
    return Query(partition=partition, prefix=keys.SLOT_PREFIX, consistent=True, after=after)


def newest_first(last: Slot, limit: int) -> Query:
    """Return the query for the slots of a lease up to this one, the newest first, at most so many of them."""
    bounds = keys.slot(Slot(last.account, last.lease, 0)), keys.slot(last)
    return Query(
        partition=bounds[0].partition, between=(bounds[0].sort, bounds[1].sort), limit=limit, consistent=True, descending=True
    )


def was_used(found: Item) -> bool:
    """Tell whether a slot holds a generation: one that was SEALED, or VOID without being used, never did (see `unused`)."""
    return "api_key" in found


def ending(opened: Generation, outcome: Outcome, now_ms: int) -> tuple[tuple[Condition, ...], tuple[Change, ...]]:
    """Return the update that ends a slot which is still OPEN: at what it cost, which raises a hold that was lower.

    That it is covered by the lease, its owner must have seen to.
    """
    cost = outcome.cost_nanousd
    charged, ended = Set("cost_nanousd", cost), Set("ended_at_ms", now_ms)
    changes: tuple[Change, ...]
    if outcome.state is SlotState.SETTLED:
        changes = charged, ended, _SETTLED, Set("answer", _answer(outcome))
    else:
        changes = charged, ended, Set("state", outcome.state.value)
    if cost > opened.hold_nanousd:
        changes += (Set("hold_nanousd", cost),)
    return _STILL_OPEN, changes


class Bill(Struct, frozen=True, kw_only=True):
    """What counts of a slot where money is concerned."""

    number: int
    state: SlotState
    hold_nanousd: NanoUsd = 0
    cost_nanousd: NanoUsd = 0


def bill_of(found: Item) -> Bill:
    """Return what a slot's item says of money. Raises msgspec.ValidationError."""
    return msgspec.convert({**found, "number": number_of(found)}, Bill)


def _place(place: Slot) -> dict[str, Value]:
    """Return a slot's key, and when its item may be swept: all of a lease's at the same time."""
    return {**keys.attributes(keys.slot(place)), "ttl": _expires_at(place.lease)}


def _expires_at(lease: str) -> int:
    return ids.made_at_ms(lease) // 1000 + KEPT_S


def _answer(outcome: Outcome) -> str:
    """Pack what answered a call, as `_Answer` is read: a tuple, as making a struct for this takes longer than writing it."""
    served = outcome.candidate
    at = (served.endpoint.model, served.endpoint.provider, served.endpoint.id, served.price.version) if served else _NOWHERE
    upstream_id, reason = _shown(outcome.upstream_id or ""), outcome.finish_reason
    told = (*at, upstream_id, reason, outcome.time_to_first_token_ms, *msgspec.structs.astuple(outcome.usage))
    return _encode(told).decode()


def _shown(upstream_id: str) -> str:
    """Cut a provider's id to what is kept of it: what cannot be shown is left out, as JSON would write it six times as long."""
    if upstream_id.isascii() and upstream_id.isprintable():
        return upstream_id[:UPSTREAM_ID_MAX]
    printable = "".join(filter(str.isprintable, upstream_id))
    return printable.encode()[:UPSTREAM_ID_MAX].decode(errors="ignore")
