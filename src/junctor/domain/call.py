"""One call, from what came in to what is owed: the values that the seams of the pipeline pass on.

The seams are `plan(call, snapshots) -> Plan`, `hold(call, plan) -> Hold` and `settle(hold, outcome) -> Receipt`.
"""

from collections.abc import Mapping

from msgspec import Struct

from junctor.domain.account import Caller
from junctor.domain.catalog import Catalog
from junctor.domain.completion import Choice, ChoiceEnd, CompletionSpec, Delta, FinishReason, Usage
from junctor.domain.generation import Generation
from junctor.domain.health import HealthSnapshot
from junctor.domain.lease import SlotState
from junctor.domain.money import NanoUsd
from junctor.domain.routing import Adjustment, Attempt, Candidate, Credential, RoutingPreferences


class Call(Struct, frozen=True, kw_only=True):
    """A call as a door hands it in.

    `deadline_at` is an instant of the event loop's clock, in seconds, by which the answer must be known: the door has kept back
    what settling and answering need of the caller's own deadline.
    """

    caller: Caller
    spec: CompletionSpec
    preferences: RoutingPreferences
    deadline_at: float
    streamed: bool = False
    request_id: str | None = None


class Snapshots(Struct, frozen=True):
    """Everything that planning looks at besides the call.

    `credentials`: those at hand, by provider slug, with weights above 0; like the catalogue, it is replaced and never changed.
    `seed` is the call's chance, a number of its own. `dialects`: the wire APIs that can be spoken, None for all.
    """

    catalog: Catalog
    health: HealthSnapshot
    credentials: Mapping[str, tuple[Credential, ...]]
    now_ms: int
    seed: int = 0
    dialects: frozenset[str] | None = None


class Hold(Struct, frozen=True):
    """A generation's durable place in the ledger: its record as it was opened."""

    generation: Generation


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of a call, for the ledger: SETTLED if it is to be paid for, VOID if not.

    `candidate` is None if nothing answered. `usage` is the provider's, or our own count with `estimated` set. `within_hold`:
    whether the caller pays at most what is held for the call, as its answer did not come to its own end.
    """

    state: SlotState
    cost_nanousd: NanoUsd = 0
    within_hold: bool = False
    candidate: Candidate | None = None
    usage: Usage = Usage()
    finish_reason: FinishReason | None = None
    upstream_id: str | None = None
    time_to_first_token_ms: int | None = None


class Receipt(Struct, frozen=True):
    """What the ledger made of an outcome. Costs are None where none is charged yet: pending, or not priced."""

    generation_id: str
    pending: bool = False
    cost_nanousd: NanoUsd | None = None
    upstream_cost_nanousd: NanoUsd | None = None
    fee_nanousd: NanoUsd | None = None


class Route(Struct, frozen=True, kw_only=True):
    """Where a call went: the candidate that answered and every try, in order."""

    requested_model: str
    served: Candidate
    attempts: tuple[Attempt, ...]
    adjustments: tuple[Adjustment, ...] = ()


class Opened(Struct, frozen=True):
    """An endpoint began to answer: no other will take over from here."""

    generation_id: str
    candidate: Candidate


class Answer(Struct, frozen=True, kw_only=True):
    """A whole answer and what is to be told of it. Times are as in Finished."""

    choices: tuple[Choice, ...]
    usage: Usage
    receipt: Receipt
    route: Route
    time_to_first_token_ms: int
    latency_ms: int


class Finished(Struct, frozen=True, kw_only=True):
    """An answer is complete. Times are milliseconds; the first from the start of the attempt that answered."""

    choices: tuple[ChoiceEnd, ...]
    usage: Usage
    receipt: Receipt
    route: Route
    time_to_first_token_ms: int
    latency_ms: int


StreamEvent = Opened | Delta | Finished
