"""What is told of a generation? Its record as one value for `--json`, and as lines for a person.

It prints nothing. Invariant: the JSON form has what the router reported, and nothing guessed.
"""

from datetime import UTC, datetime, timedelta

from msgspec import Struct

from junctor.cli.chat_report import word
from junctor.client import Generation

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NANO = 10**9
_CENTS_DIGITS = 2


class GenerationRecord(Struct, frozen=True, kw_only=True):
    """One generation: what `--json` prints. Sums in 1e-9 USD, instants in Unix milliseconds; None is what is not known yet."""

    id: str
    state: str
    api_key: str
    requested_model: str
    model: str
    provider: str
    endpoint: str
    started_at_ms: int
    ended_at_ms: int | None
    streamed: bool
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    estimated: bool
    cost_nanousd: int | None
    hold_nanousd: int
    price_version: str
    upstream_id: str
    finish_reason: str
    time_to_first_token_ms: int | None


def read_generation(found: Generation) -> GenerationRecord:
    """Return the record that a message holds."""
    return GenerationRecord(
        id=found.id,
        state=word(found, "state"),
        api_key=found.api_key,
        requested_model=found.requested_model,
        model=found.model,
        provider=found.provider,
        endpoint=found.endpoint,
        started_at_ms=found.started_at_ms,
        ended_at_ms=found.ended_at_ms if found.HasField("ended_at_ms") else None,
        streamed=found.streamed,
        input_tokens=found.usage.input_tokens,
        output_tokens=found.usage.output_tokens,
        cache_read_tokens=found.usage.cache_read_tokens,
        cache_write_tokens=found.usage.cache_write_tokens,
        reasoning_tokens=found.usage.reasoning_tokens,
        estimated=found.usage.estimated,
        cost_nanousd=found.cost_nanousd if found.HasField("cost_nanousd") else None,
        hold_nanousd=found.hold_nanousd,
        price_version=found.price_version,
        upstream_id=found.upstream_id,
        finish_reason=word(found, "finish_reason") if found.finish_reason else "",
        time_to_first_token_ms=found.time_to_first_token_ms if found.HasField("time_to_first_token_ms") else None,
    )


def summary(record: GenerationRecord) -> tuple[str, ...]:
    """Return a record as one row: when, how far, what answered, how much, for how much, and its id."""
    return (
        _instant(record.started_at_ms),
        record.state,
        record.model or record.requested_model,
        record.provider,
        _tokens(record),
        _dollars(record.cost_nanousd),
        record.id,
    )


def details(record: GenerationRecord) -> list[tuple[str, str]]:
    """Return what is known of a generation as (name, value) rows; what is not known has none."""
    ended = record.ended_at_ms
    first = record.time_to_first_token_ms
    rows = [
        ("state", record.state),
        ("API key", record.api_key),
        ("asked for", record.requested_model),
        ("answered by", record.model),
        ("provider", record.provider),
        ("endpoint", record.endpoint),
        ("started", _instant(record.started_at_ms)),
        ("ended", "" if ended is None else f"{_instant(ended)}, after {ended - record.started_at_ms} ms"),
        ("streamed", "yes" if record.streamed else "no"),
        ("tokens", _tokens(record)),
        ("cached", _parts(read=record.cache_read_tokens, written=record.cache_write_tokens)),
        ("reasoning", _parts(tokens=record.reasoning_tokens)),
        ("cost", _dollars(record.cost_nanousd)),
        ("hold", _dollars(record.hold_nanousd)),
        ("price", f"version {record.price_version}" if record.price_version else ""),
        ("finish", record.finish_reason.replace("_", " ")),
        ("first token", "" if first is None else f"after {first} ms"),
        ("upstream id", record.upstream_id),
    ]
    return [row for row in rows if row[1]]


def _tokens(record: GenerationRecord) -> str:
    about = "about " if record.estimated else ""
    return f"{about}{record.input_tokens} in, {record.output_tokens} out"


def _parts(**counts: int) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def _dollars(nanousd: int | None) -> str:
    """Write a sum in dollars, exactly, with at least the cents."""
    if nanousd is None:
        return ""
    whole, rest = divmod(nanousd, _NANO)
    fraction = f"{rest:09d}".rstrip("0").ljust(_CENTS_DIGITS, "0")
    return f"${whole}.{fraction}"


def _instant(instant_ms: int) -> str:
    return (_EPOCH + timedelta(milliseconds=instant_ms)).strftime("%Y-%m-%d %H:%M:%SZ")
