"""Which models does a call name, in order? Slugs, aliases and variants to models of the catalogue.

A name is looked up as it is first, so a catalogue variant (`author/name:free`) and an alias (`~author/family-latest`) are names
like any other. Words after a colon that say how to sort are no part of a model's name: `:nitro` is the fastest first, `:floor`
the cheapest. They may stand in any order among the others, and the last one counts. A model that is named twice counts once.

Refuses `:exacto`: it sorts by how well endpoints call tools, which nobody measures here yet.
"""

import difflib
from typing import Final

from msgspec import Struct

from junctor.domain.call import Call
from junctor.domain.errors import InvalidFieldError, ModelNotFoundError
from junctor.domain.routing import Sort, SortBy
from junctor.policy.routing.prepared import Prepared

NEAR_NAMES_MAX: Final = 3
VARIANTS: Final = {"nitro": SortBy.THROUGHPUT, "floor": SortBy.PRICE}
REFUSED_VARIANTS: Final = {"exacto": "the variant :exacto needs measurements of tool calls, which Junctor does not make yet"}


class Target(Struct, frozen=True):
    """A model that a call names, and the order of its endpoints that the name asks for."""

    slug: str
    sort: SortBy | None = None


def targets(call: Call, known: Prepared) -> tuple[Target, ...]:
    """Return the models of a call, in the caller's order, each once.

    Raises:
        ModelNotFoundError: the catalogue has no such model.
        InvalidFieldError: a variant cannot be used, or contradicts the preferences.
    """
    spec, sort = call.spec, call.preferences.sort
    first = _target(spec.model, "spec.model", sort, known)
    if not spec.models:
        return (first,)
    found = {first.slug: first}
    for place, name in enumerate(spec.models):
        target = _target(name, f"spec.models[{place}]", sort, known)
        found.setdefault(target.slug, target)
    return tuple(found.values())


def _target(name: str, path: str, sort: Sort | None, known: Prepared) -> Target:
    slug = _slug(name, known)
    if slug is not None:
        return Target(slug)
    base, *words = name.split(":")
    for word in words:
        if word in REFUSED_VARIANTS:
            raise InvalidFieldError((path, REFUSED_VARIANTS[word]))
    asked = [VARIANTS[word] for word in words if word in VARIANTS]
    slug = _slug(":".join((base, *(word for word in words if word not in VARIANTS))), known) if asked else None
    if slug is None:
        raise ModelNotFoundError(name, tuple(difflib.get_close_matches(name, known.catalog.models, NEAR_NAMES_MAX)))
    if sort is not None and sort.by is not asked[-1]:
        raise InvalidFieldError((path, "its variant asks for another order than preferences.sort"))
    return Target(slug, asked[-1])


def _slug(name: str, known: Prepared) -> str | None:
    return name if name in known.catalog.models else known.aliases.get(name)
