"""Does the store bear out what callers were told? Their notes on one side, the records on the other; no server takes part.

Held to the ledger's promises (ledger.md): nothing acknowledged is lost, an answer's record is SETTLED at exactly what was
answered (I7), one generation is answered once (I10), and no output came before a durable slot (I14).
"""

from collections import Counter
from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from junctor.domain.generation import Generation
from junctor.domain.lease import SlotState


class _Usage(Protocol):
    """What a Usage and a Generation both tell."""

    @property
    def input_tokens(self) -> int: ...
    @property
    def output_tokens(self) -> int: ...
    @property
    def cache_read_tokens(self) -> int: ...
    @property
    def cache_write_tokens(self) -> int: ...
    @property
    def reasoning_tokens(self) -> int: ...
    @property
    def estimated(self) -> bool: ...


class Usage(Struct, frozen=True):
    """What was consumed, as either side tells it."""

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False


class Told(Struct, frozen=True, kw_only=True):
    """What a caller was told with a whole answer. `cost_nanousd` is None where no cost was stated."""

    generation_id: str
    streamed: bool
    model: str
    provider: str
    endpoint: str
    usage: Usage
    cost_nanousd: int | None
    pending: bool


class Notes:
    """What all callers noted, in the order in which they learned of it."""

    def __init__(self) -> None:
        self.answered: list[Told] = []
        self.opened: list[str] = []
        self.wrong: list[str] = []


def usage_of(source: _Usage) -> Usage:
    """Read the usage of an answer or of a record."""
    return Usage(
        source.input_tokens,
        source.output_tokens,
        source.cache_read_tokens,
        source.cache_write_tokens,
        source.reasoning_tokens,
        source.estimated,
    )


def violations(notes: Notes, records: Mapping[str, Generation]) -> tuple[str, ...]:
    """Return every promise that the records break, a line each; and what the callers themselves found wrong."""
    found = list(notes.wrong)
    times = Counter(told.generation_id for told in notes.answered)
    found += [f"{generation_id} was answered {number} times" for generation_id, number in times.items() if number > 1]
    times = Counter(notes.opened)
    found += [f"{generation_id} was opened {number} times" for generation_id, number in times.items() if number > 1]
    found += [
        f"{generation_id} was opened to a caller and has no record" for generation_id in times if generation_id not in records
    ]
    for told in notes.answered:
        found += [f"{told.generation_id} {wrong}" for wrong in _differences(told, records.get(told.generation_id))]
    return tuple(found)


def _differences(told: Told, record: Generation | None) -> list[str]:
    if record is None:
        return ["was answered and has no record"]
    if told.pending and record.state is SlotState.OPEN:
        return []
    if record.state is not SlotState.SETTLED:
        return [f"was answered and its record is {record.state.value}"]
    pairs = {
        "usage": (told.usage, usage_of(record)),
        "model": (told.model, record.model),
        "provider": (told.provider, record.provider),
        "endpoint": (told.endpoint, record.endpoint),
        "streamed": (told.streamed, record.streamed),
    }
    if told.cost_nanousd is not None:
        pairs["cost"] = (told.cost_nanousd, record.cost_nanousd)
    return [f"was answered with {name} {said}, its record has {kept}" for name, (said, kept) in pairs.items() if said != kept]
