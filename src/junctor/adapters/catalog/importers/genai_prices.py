"""What the package `genai-prices` knows and no other source does: OpenRouter's ids over the years, and prices yet to come.

Its data are one Python module that builds objects. It is parsed, never run: calls become dictionaries, and anything that is
not a literal, a call or a list is refused.
"""

import ast
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from msgspec import Struct

from junctor.adapters.catalog.importers.offers import named, per_million
from junctor.domain.catalog import PriceParts

SOURCE: Final = "genai-prices"

_PARTS: Final = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "audio_input": "input_audio_mtok",
    "audio_output": "output_audio_mtok",
}


class GenaiPrice(Struct, frozen=True, kw_only=True):
    """What a model costs at a host, and from an instant on (Unix seconds) in the future what it will cost."""

    host: str
    upstream_model: str
    parts: PriceParts | None = None
    later: PriceParts | None = None
    later_from: int | None = None


def read(text: str, today: str) -> Iterator[GenaiPrice]:
    """Read the prices of a day (ISO 8601), and those to come, from the module. Raises ValueError, SyntaxError."""
    for statement in ast.parse(text).body:
        if isinstance(statement, ast.AnnAssign) and getattr(statement.target, "id", "") == "providers" and statement.value:
            for host in _value(statement.value):
                for model in host.get("models", ()):
                    yield _price(host["id"], model, today)


def _price(host: str, model: dict[str, Any], today: str) -> GenaiPrice:
    prices = model.get("prices")
    steps = prices if isinstance(prices, list) else [{"prices": prices}]
    now: PriceParts | None = None
    for step in steps:
        constraint = step.get("constraint")
        if constraint is not None and "start_date" not in constraint:
            return GenaiPrice(host=host, upstream_model=model["id"])
        if constraint is None or constraint["start_date"] <= today:
            now = _parts(step["prices"])
    coming = sorted(
        (step["constraint"]["start_date"], place)
        for place, step in enumerate(steps)
        if step.get("constraint") and step["constraint"]["start_date"] > today
    )
    if not coming:
        return GenaiPrice(host=host, upstream_model=model["id"], parts=now)
    day, place = coming[0]
    start = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp())
    return GenaiPrice(host=host, upstream_model=model["id"], parts=now, later=_parts(steps[place]["prices"]), later_from=start)


def _parts(prices: dict[str, Any] | None) -> PriceParts | None:
    """Return the parts, None where one of them has steps by prompt size or a price is missing."""
    if prices is None:
        return None
    found = {part: prices.get(field) for part, field in _PARTS.items()}
    if any(isinstance(price, dict) for price in found.values()) or found["input"] is None or found["output"] is None:
        return None
    pico = {part: per_million(None if price is None else float(price)) for part, price in found.items()}
    return PriceParts(**{part: price if part in {"input", "output"} else named(price) for part, price in pico.items()})


def _value(node: ast.expr) -> Any:  # noqa: ANN401 - whatever the literal is
    found: Any
    match node:
        case ast.Constant(value=value):
            found = value
        case ast.List(elts=elts):
            found = [_value(each) for each in elts]
        case ast.Dict(keys=keys, values=values):
            found = {_value(key): _value(each) for key, each in zip(keys, values, strict=True) if key is not None}
        case ast.Call(func=ast.Name(id="Decimal"), args=[ast.Constant(value=str(digits))]):
            found = Decimal(digits)
        case ast.Call(func=ast.Attribute(attr="date"), args=[*ymd]):
            found = "{:04}-{:02}-{:02}".format(*map(_value, ymd))
        case ast.Call(func=ast.Attribute(attr="time")):
            found = ""
        case ast.Call(args=[], keywords=keywords):
            found = {word.arg: _value(word.value) for word in keywords}
        case _:
            raise ValueError(f"line {node.lineno}: {type(node).__name__} is no literal")
    return found
