"""What is told of a plan? Its rows as one value for `--json`, and as cells for a person.

It prints nothing. Invariant: the JSON form has what the router reported, and nothing guessed.
"""

from msgspec import Struct

from junctor.cli.money import in_usd
from junctor.client import ExcludedEndpoint, ExplainResponse, PlannedCandidate

HEADINGS = ("", "endpoint", "price at most", "first token", "health", "weight")


class PlannedRow(Struct, frozen=True, kw_only=True):
    """An endpoint that would be tried. The price is the most that the request could cost there; None is what is not known."""

    model: str
    provider: str
    endpoint: str
    ceiling_nanousd: int | None
    success_probability: float | None
    expected_time_to_first_token_ms: int | None
    weight: float | None


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
    """Return a row of the table of what would be tried."""
    first, chance = row.expected_time_to_first_token_ms, row.success_probability
    return (
        str(place),
        row.endpoint,
        "" if row.ceiling_nanousd is None else in_usd(row.ceiling_nanousd),
        "not measured" if first is None else f"{first} ms",
        "not measured" if chance is None else f"{chance:.1%}",
        "" if row.weight is None else f"{row.weight:.1%}",
    )


def _planned(row: PlannedCandidate) -> PlannedRow:
    return PlannedRow(
        model=row.model,
        provider=row.provider,
        endpoint=row.endpoint,
        ceiling_nanousd=row.ceiling_nanousd if row.HasField("ceiling_nanousd") else None,
        success_probability=row.success_probability if row.HasField("success_probability") else None,
        expected_time_to_first_token_ms=row.expected_time_to_first_token_ms
        if row.HasField("expected_time_to_first_token_ms")
        else None,
        weight=row.weight if row.HasField("weight") else None,
    )


def _excluded(row: ExcludedEndpoint) -> ExcludedRow:
    return ExcludedRow(row.model, row.provider, row.endpoint, row.reason)
