"""Which endpoint has the beginning of this conversation in its cache? The same one each time, without any shared state.

A conversation is named by its session, else by its prompt cache key, else - from its second turn on, as before it nothing is
cached - by its opening: the first instruction and the first message that is none. Of the endpoints that read their cache for
less, each conversation has its own by rendezvous hashing, so that one endpoint's end moves only its own conversations. The hash
is weighted by prices, not by this call's cost: conversations spread as the draw would spread calls, and one that grows does not
move.

Refuses to crowd an endpoint that is coming back. One that fails is not among those asked, which are all of one rank.
"""

from collections.abc import Sequence
from math import inf
from typing import Final

from junctor.domain.call import Call
from junctor.domain.completion import Message, Role, TextPart
from junctor.policy.routing import rendezvous
from junctor.policy.routing.offers import Offer

OPENING_CHARS: Final = 2_048
"""How much of each message of an opening names a conversation."""
_NEVER: Final = (0, inf)
"""Stands for an endpoint that no conversation stays with."""
_ANSWERING: Final = Role.ASSISTANT
_INSTRUCTIONS: Final = (Role.SYSTEM, Role.DEVELOPER)


def conversation(call: Call) -> int | None:
    """Return a number that stands for the conversation that a call goes on with, None if it has none."""
    name = _name(call)
    return None if name is None else rendezvous.number(f"{call.caller.account}\0{name}")


def home(found: Sequence[Offer], number: int) -> int | None:
    """Return the place of the offer that a conversation stays with, among those that would be drawn first; None if none."""
    turns = [offer.units.turn or _NEVER if (health := offer.health) is None or health.ramp >= 1 else _NEVER for offer in found]
    waits = rendezvous.waits(number, turns)
    least = min(waits)
    return None if least == inf else waits.index(least)


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
            if message.role is _ANSWERING:
                return f"opening {_beginning(instruction)}\0{_beginning(first)}"
    return None


def _beginning(message: Message | None) -> str:
    for part in message.parts if message else ():
        if isinstance(part, TextPart):
            return part.text[:OPENING_CHARS]
    return ""
