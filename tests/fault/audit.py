"""Does the store bear out what callers were told? Their notes on one side, the records on the other; no server takes part.

Held to the ledger's promises (ledger.md): nothing acknowledged is lost, an answer's record is SETTLED at exactly what was
answered (I7), one generation is answered once (I10), no output came before a durable slot (I14), and a request that its caller
named, sent again and again, is charged at most once (I8). Whether the books balance is for tests/support/ledger_audit.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
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
    """What a caller was told with a whole answer. `cost_nanousd` is None where no cost was stated.

    `price_nanousd` is what its usage costs by the price card; `capped`: the caller's credits may not have covered that.
    """

    generation_id: str
    streamed: bool
    model: str
    provider: str
    endpoint: str
    usage: Usage
    cost_nanousd: int | None
    pending: bool
    price_nanousd: int = 0
    capped: bool = False


class Repeated(Struct, frozen=True):
    """What a caller was told who sent a request again that had been answered: which generation answered it, at what cost."""

    generation_id: str
    cost_nanousd: int


class Notes:
    """What all callers noted, in the order in which they learned of it; of a refused call, the usage that it would have had."""

    def __init__(self) -> None:
        self.answered: list[Told] = []
        self.opened: list[str] = []
        self.repeated: list[Repeated] = []
        self.refused: set[Usage] = set()
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
    """Return every promise that the records break, a line each; and what the callers themselves found wrong.

    Every call has a usage of its own, by which one that was charged twice is known.
    """
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
    for repeated in notes.repeated:
        record = records.get(repeated.generation_id)
        if record is None or record.state is not SlotState.SETTLED or record.cost_nanousd != repeated.cost_nanousd:
            found.append(
                f"{repeated.generation_id} was said to have answered at {repeated.cost_nanousd}, its record is {record}"
            )
    return (*found, *_charged_wrongly(notes.refused, records))


def _charged_wrongly(refused: Collection[Usage], records: Mapping[str, Generation]) -> Iterator[str]:
    settled: defaultdict[Usage, list[str]] = defaultdict(list)
    for generation_id, record in records.items():
        if record.state is SlotState.SETTLED and not record.estimated:
            settled[usage_of(record)].append(generation_id)
    for usage, twins in settled.items():
        if usage in refused:
            yield f"a call was refused and charged all the same: {', '.join(twins)}"
        if len(twins) > 1:
            yield f"one call was charged {len(twins)} times: {', '.join(twins)}"


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
    found = [f"was answered with {name} {said}, its record has {kept}" for name, (said, kept) in pairs.items() if said != kept]
    cost = record.cost_nanousd or 0
    if cost > told.price_nanousd or (cost < told.price_nanousd and not told.capped):
        found.append(f"cost {cost}, and its price is {told.price_nanousd}")
    if told.cost_nanousd is None and not told.pending:
        found.append("was answered without a cost, and not as pending")
    return found
