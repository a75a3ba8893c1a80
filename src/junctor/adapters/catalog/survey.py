"""What is in a snapshot, and what is different in another one? For people who decide whether to put it in force.

Compares rows as they stand and judges nothing: what a difference means is for the reader.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

from junctor.adapters.catalog.snapshot import Snapshot

EMBEDDING_MODALITY: Final = "embeddings"
"""The only output modality of an embedding model, by which completions pass it over."""


class Change(Struct, frozen=True):
    """The names of rows that came, went and stayed under their name with other contents."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]


def counts(snapshot: Snapshot) -> Mapping[str, int]:
    """Count models that complete, their endpoints and providers, models at two providers or more, and what is beside them.

    `dated_models` are those of all models of which the day of release is known.
    """
    completing = [row for row in snapshot.endpoints if EMBEDDING_MODALITY not in row.output_modalities]
    hosts: dict[str, set[str]] = {}
    for row in completing:
        hosts.setdefault(row.model, set()).add(row.provider)
    return {
        "models": len(hosts),
        "endpoints": len(completing),
        "providers": len({row.provider for row in completing}),
        "models_at_two_providers": sum(len(row) > 1 for row in hosts.values()),
        "embedding_models": len({row.model for row in snapshot.endpoints} - hosts.keys()),
        "embedding_endpoints": len(snapshot.endpoints) - len(completing),
        "dated_models": sum(row.created_on is not None for row in snapshot.models),
        "priced_endpoints": len(snapshot.prices),
        "quarantined": len(snapshot.quarantined),
    }


def differences(old: Snapshot, new: Snapshot) -> Mapping[str, Change]:
    """Compare two snapshots, kind by kind."""
    return {
        "providers": _change(((row.slug, row) for row in old.providers), ((row.slug, row) for row in new.providers)),
        "models": _change(((row.slug, row) for row in old.models), ((row.slug, row) for row in new.models)),
        "endpoints": _change(((row.id, row) for row in old.endpoints), ((row.id, row) for row in new.endpoints)),
        "prices": _change(((row.endpoint, row.cards) for row in old.prices), ((row.endpoint, row.cards) for row in new.prices)),
        "quarantined": _change(
            ((row.endpoint, row) for row in old.quarantined), ((row.endpoint, row) for row in new.quarantined)
        ),
    }


def _change(old: Iterable[tuple[str, object]], new: Iterable[tuple[str, object]]) -> Change:
    before, after = dict(old), dict(new)
    return Change(
        added=tuple(sorted(after.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - after.keys())),
        changed=tuple(sorted(name for name in before.keys() & after.keys() if before[name] != after[name])),
    )
