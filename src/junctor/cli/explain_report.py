"""What is told of a plan? Its rows as one value for `--json`, and as cells for a person.

It prints nothing. Invariant: the JSON form has what the router reported, and nothing guessed.
"""

from datetime import UTC, datetime

from google.protobuf.message import Message
from msgspec import Struct

from junctor.cli.chat_report import word
from junctor.cli.money import in_usd
from junctor.client import ExcludedEndpoint, ExplainResponse

HEADINGS = ("", "endpoint", "price expected", "at most", "first token", "health", "weight")
_UNKNOWN = "not measured"
_OPTIONAL = (
    *("expected_nanousd", "ceiling_nanousd", "weight", "success_probability", "expected_time_to_first_token_ms"),
    *("throughput_tokens_per_s", "open_until_ms", "ramp"),
)


class PlannedRow(Struct, frozen=True, kw_only=True):
    """An endpoint that would be tried, as the router told it; None, and an empty cause, is what is not known."""

    model: str
    provider: str
    endpoint: str
    expected_nanousd: int | None
    ceiling_nanousd: int | None
    purchase_fee_ppm: int
    weight: float | None
    success_probability: float | None
    expected_time_to_first_token_ms: int | None
    throughput_tokens_per_s: float | None
    in_flight: int
    open: bool
    open_cause: str
    open_until_ms: int | None
    probe: bool
    degraded: bool
    full: bool
    ramp: float | None
    credential_count: int
    cooling_credential_count: int


class ExcludedRow(Struct, frozen=True):
    """An endpoint that would not be tried, and why."""

    model: str
    provider: str
    endpoint: str
    reason: str


class PlanRecord(Struct, frozen=True):
    """A whole plan: what `--json` prints."""

    candidates: tuple[PlannedRow, ...]
    excluded: tuple[ExcludedRow, ...]


def read_plan(found: ExplainResponse) -> PlanRecord:
    """Return the plan that an answer holds."""
    return PlanRecord(tuple(map(_planned, found.candidates)), tuple(map(_excluded, found.excluded)))


def excluded_cells(row: ExcludedRow) -> tuple[str, str]:
    """Return a row of the table of what would not be tried."""
    return row.endpoint, row.reason.replace("_", " ").lower()


def planned_cells(place: int, row: PlannedRow) -> tuple[str, ...]:
    """Return a row of the table of what would be tried, under HEADINGS."""
    first = row.expected_time_to_first_token_ms
    return (
        str(place),
        row.endpoint,
        _sum(row.expected_nanousd) + (f" + {row.purchase_fee_ppm / 10_000:g} %" if row.purchase_fee_ppm else ""),
        _sum(row.ceiling_nanousd),
        _UNKNOWN if first is None else f"{first} ms",
        _health(row),
        "" if row.weight is None else f"{row.weight:.1%}",
    )


def _sum(nanousd: int | None) -> str:
    return "" if nanousd is None else in_usd(nanousd)


def _health(row: PlannedRow) -> str:
    """Say how an endpoint does: in one word, with the chance of an answer and what else keeps calls from it."""
    said = [_state(row)]
    if row.success_probability is not None and not row.open:
        said.append(f"{row.success_probability:.1%}")
    if row.full:
        said.append(f"full with {row.in_flight}")
    if row.cooling_credential_count:
        said.append(f"{row.cooling_credential_count} of {row.credential_count} credentials cooling")
    return ", ".join(said)


def _state(row: PlannedRow) -> str:
    if row.open:
        cause = f": {row.open_cause.replace('_', ' ')}" if row.open_cause else ""
        until = row.open_until_ms
        lasts = f" until {datetime.fromtimestamp(until / 1000, UTC):%H:%M:%S} UTC" if until is not None else ""
        return f"open{cause}{lasts}{', to be probed' if row.probe else ''}"
    if row.success_probability is None:
        return _UNKNOWN
    if row.degraded:
        return "degraded"
    return "sound" if row.ramp is None or row.ramp >= 1 else f"coming back at {row.ramp:.0%}"


def _planned(row: Message) -> PlannedRow:
    known = {name: getattr(row, name) if row.HasField(name) else None for name in _OPTIONAL}
    plain = {name: getattr(row, name) for name in PlannedRow.__struct_fields__ if name not in known}
    cause = word(row, "open_cause") if plain["open_cause"] else ""
    return PlannedRow(**{**plain, **known, "open_cause": cause})


def _excluded(row: ExcludedEndpoint) -> ExcludedRow:
    return ExcludedRow(row.model, row.provider, row.endpoint, row.reason)
