"""With which of a provider's credentials is a call made, and which may stand in? Drawn by weight, or kept for a conversation.

Providers cache by account: a conversation that is cached at an endpoint stays with one credential too, as long as that may be
used. All other calls draw. Either way the rest follow as spares, in the order of the same draw.

Invariant: a credential that is cooling for an endpoint is not named while another is not. Only where all are cooling are they
named, so that the endpoint is tried last and not refused.
"""

from collections.abc import Sequence

from msgspec import Struct

from junctor.domain.routing import Credential
from junctor.policy.routing import rendezvous


class Held(Struct, frozen=True, gc=False):
    """The credentials of one provider: their names and numbers, and one over each one's weight, if not all weigh the same."""

    names: tuple[str, ...]
    numbers: tuple[int, ...]
    means: tuple[float, ...]


def held(provider: str, credentials: tuple[Credential, ...]) -> Held:
    """Return what a draw needs to know of a provider's credentials."""
    names = tuple(each.name for each in credentials)
    numbers = tuple(rendezvous.number(f"{provider}/{name}") for name in names)
    even = len({each.weight for each in credentials}) <= 1
    return Held(names, numbers, () if even else tuple(1 / each.weight for each in credentials))


def drawn(all_: Held, cooling: frozenset[str], chosen_by: int) -> tuple[str, ...]:
    """Name the credentials that may be used, in the order in which they are to be."""
    names: Sequence[str]
    if all_.means:
        waits = rendezvous.waits(chosen_by, zip(all_.numbers, all_.means, strict=True))
        names = [name for _, name in sorted(zip(waits, all_.names, strict=True))]
    else:
        names = rendezvous.order(chosen_by, all_.numbers, all_.names)
    if cooling:
        names = [name for name in names if name not in cooling] or names
    return tuple(names)
