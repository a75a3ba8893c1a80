"""Which endpoint has the beginning of this conversation in its cache? The same one each time, without any shared state.

A conversation is named by its session, else by its prompt cache key, else - from its second turn on, as before it nothing is
cached - by its opening: the first instruction and the first message that is none. Of the endpoints that read their cache for
less, each conversation has its own by rendezvous hashing, so that one endpoint's end moves only its own conversations. The hash
is weighted by list prices: conversations spread as the draw would spread calls, and a conversation that grows does not move.

Refuses to crowd an endpoint that is coming back. One that fails is not among those asked, which are all of one rank.
"""

import hashlib
from collections.abc import Sequence
from math import inf, log
from typing import Final

from junctor.domain.call import Call
from junctor.domain.completion import Message, Role, TextPart
from junctor.policy.routing.offers import Offer

OPENING_CHARS: Final = 2_048
"""How much of each message of an opening names a conversation."""
_INSTRUCTIONS: Final = (Role.SYSTEM, Role.DEVELOPER)
_MASK: Final = (1 << 64) - 1
_MIX: Final = 0x9E3779B97F4A7C15
"""Knuth's multiplier for hashing: 2**64 over the golden ratio, odd."""


def home(found: Sequence[Offer], call: Call) -> int | None:
    """Return the place of the offer that a conversation stays with, among those that would be drawn first; None if none."""
    name = _name(call)
    if name is None:
        return None
    text = f"{call.caller.account}\0{name}".encode(errors="surrogatepass")
    conversation = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())
    nearest, best = inf, None
    for place, offer in enumerate(found):
        units = offer.units
        if units.cache_read >= units.input or (offer.health is not None and offer.health.ramp < 1):
            continue
        mixed = ((conversation ^ offer.row.hashed) * _MIX) & _MASK
        price = units.input + units.output
        # An exponential time with the rate of the weight: each one's is the least as often as its share says.
        distance = -log((mixed + 0.5) / (_MASK + 1)) * price * price
        if distance < nearest:
            nearest, best = distance, place
    return best


def _name(call: Call) -> str | None:
    spec = call.spec
    if spec.session_id:
        return f"session {spec.session_id}"
    if spec.prompt_cache_key:
        return f"cache {spec.prompt_cache_key}"
    instruction = first = None
    for message in spec.messages:
        if message.role in _INSTRUCTIONS:
            instruction = instruction or message
        else:
            first = first or message
            if message.role is Role.ASSISTANT:
                return f"opening {_beginning(instruction)}\0{_beginning(first)}"
    return None


def _beginning(message: Message | None) -> str:
    for part in message.parts if message else ():
        if isinstance(part, TextPart):
            return part.text[:OPENING_CHARS]
    return ""
