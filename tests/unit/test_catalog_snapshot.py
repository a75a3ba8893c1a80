"""Reading a snapshot: what is taken, and what is refused by the name of its row."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from junctor.adapters.catalog.packaged import with_address, with_variables
from junctor.adapters.catalog.snapshot import CatalogFormatError, parse
from junctor.domain.catalog import Catalog


def small() -> dict[str, Any]:
    """Give the rows of a small snapshot without fault: a has a price, b does not."""
    endpoint = {"model": "lab/model", "upstream_model": "m", "dialect": "openai_chat", "base_url": "https://a.example/v1"}
    card = {"version": "1", "parts": {"input": 5, "output": 7}, "source": "somewhere", "as_of": "2026-11-01"}
    return {
        "version": "1",
        "built_at": "2026-11-21T00:00:00Z",
        "providers": [{"slug": "a", "name": "A"}, {"slug": "b", "name": "B"}],
        "models": [{"slug": "lab/model", "name": "Model", "aliases": ["model"]}, {"slug": "lab/bare", "name": "Bare"}],
        "endpoints": [
            {"id": "b/lab/model", "provider": "b", **endpoint},
            {"id": "a/lab/model", "provider": "a", **endpoint, "parameters": ["top_p"]},
        ],
        "prices": [{"endpoint": "a/lab/model", "cards": [card]}],
    }


def load(rows: dict[str, Any]) -> Catalog:
    """Write the rows and read them."""
    return parse(json.dumps(rows).encode())


def test_reads_rows_in_order() -> None:
    """Else endpoints are tried in another order than the catalogue says, or prices stand at the wrong endpoint."""
    catalog = load(small())
    assert [endpoint.id for endpoint in catalog.endpoints["lab/model"]] == ["b/lab/model", "a/lab/model"]
    assert catalog.endpoints["lab/bare"] == ()
    assert catalog.prices["a/lab/model"][0].parts.output == 7
    assert "b/lab/model" not in catalog.prices
    assert list(catalog.providers) == ["a", "b"]
    assert catalog.models["lab/model"].aliases == ("model",)
    assert (catalog.version, catalog.built_at) == ("1", "2026-11-21T00:00:00Z")


def spoil(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    """Make a change at a path such as prices.0.cards.0.parts.input."""

    def change(rows: Any) -> None:
        *way, last = path.split(".")
        for step in way:
            rows = rows[int(step)] if step.isdigit() else rows[step]
        rows[int(last) if last.isdigit() else last] = value

    return change


def twice(kind: str) -> Callable[[dict[str, Any]], None]:
    """Give the first row of a kind once more."""
    return lambda rows: rows[kind].append(rows[kind][0])


def tier(**fields: object) -> Callable[[dict[str, Any]], None]:
    """Give the only card one tier."""
    return spoil("prices.0.cards.0.tiers", [{"parts": {"input": 1}, **fields}])


def suspect(endpoint: str) -> Callable[[dict[str, Any]], None]:
    """Put the only price into quarantine, too, as that of an endpoint."""

    def change(rows: dict[str, Any]) -> None:
        rows["quarantined"] = [{"endpoint": endpoint, "cards": rows["prices"][0]["cards"], "reason": "dear"}]

    return change


def spans(*spans: tuple[int | None, int | None]) -> Callable[[dict[str, Any]], None]:
    """Give the only price a card for each span of time."""

    def change(rows: dict[str, Any]) -> None:
        card = rows["prices"][0]["cards"][0]
        rows["prices"][0]["cards"] = [{**card, "valid_from": start, "valid_to": end} for start, end in spans]

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (twice("providers"), "provider a: given twice"),
        (spoil("providers.0.purchase_fee_ppm", -1_000_000), "provider a: purchase_fee_ppm"),
        (spoil("providers.1.purchase_fee_ppm", 1_000_001), "provider b: purchase_fee_ppm"),
        (twice("models"), "model or alias lab/model: given twice"),
        (twice("endpoints"), "endpoint b/lab/model: given twice"),
        (twice("prices"), "price of a/lab/model: given twice"),
        (spoil("models.1.aliases", ["model"]), "model or alias model: given twice"),
        (spoil("models.1.slug", "bare"), "model bare: slug is not author/name"),
        (spoil("models.1.slug", "Lab/Bare"), "model Lab/Bare: slug is not author/name"),
        (spoil("models.1.context_tokens", 0), "model lab/bare: context_tokens is not positive"),
        (spoil("models.0.created_on", "2026-11-22"), "model lab/model: created_on"),
        (spoil("models.0.created_on", "2026-11"), "model lab/model: created_on"),
        (spoil("models.0.created_on", "20261101"), "model lab/model: created_on"),
        (spoil("models.0.created_on", "2026-02-30"), "model lab/model: created_on"),
        (spoil("endpoints.0.address_variables", ["HOST"]), "endpoint b/lab/model: address_variables"),
        (spoil("endpoints.0.model", "lab/gone"), "endpoint b/lab/model: model lab/gone is not in the catalogue"),
        (spoil("endpoints.0.provider", "c"), "endpoint b/lab/model: provider c is not in the catalogue"),
        (spoil("endpoints.0.id", "c/lab/model"), "endpoint c/lab/model: id does not begin"),
        (spoil("endpoints.0.upstream_model", ""), "endpoint b/lab/model: upstream_model or dialect is empty"),
        (spoil("endpoints.0.base_url", "http://a.example"), "endpoint b/lab/model: base_url"),
        (spoil("endpoints.0.base_url", "https://a.example/"), "endpoint b/lab/model: base_url"),
        (spoil("endpoints.0.output_tokens_max", 0), "endpoint b/lab/model: context_tokens or output_tokens_max"),
        (spoil("endpoints.1.parameters", ["top_p", "topk"]), r"endpoint a/lab/model: unknown parameters \['topk'\]"),
        (spoil("endpoints.0.quantization", "int3"), r"not a snapshot: .*int3.*endpoints\[0\]"),
        (spoil("prices.0.endpoint", "a/lab/gone"), "price of a/lab/gone: no such endpoint"),
        (spoil("prices.0.cards", []), "price of a/lab/model: no card"),
        (spoil("prices.0.cards.0.parts.input", -1), "price of a/lab/model: a price is below zero"),
        (spoil("prices.0.cards.0.parts.input", 0.5), r"not a snapshot: .*prices\[0\]"),
        (spoil("prices.0.cards.0.parts.input", None), "price of a/lab/model: input or output has no price"),
        (spoil("prices.0.cards.0.source", ""), "price of a/lab/model: version, source or as_of is empty"),
        (spans((5, 5)), "price of a/lab/model: valid_from is not before valid_to"),
        (spans((10, None), (None, 11)), "price of a/lab/model: two cards hold at the same time"),
        (spans((None, None), (20, None)), "price of a/lab/model: two cards hold at the same time"),
        (tier(), "price of a/lab/model: a tier has no condition"),
        (tier(input_tokens_from=0), "price of a/lab/model: a tier's input_tokens_from"),
        (tier(service_tier=""), "price of a/lab/model: a tier's service_tier is empty"),
        (tier(utc_from_min=5), "price of a/lab/model: a tier's hours"),
        (tier(utc_from_min=5, utc_to_min=5), "price of a/lab/model: a tier's hours"),
        (tier(utc_from_min=5, utc_to_min=1441), "price of a/lab/model: a tier's hours"),
        (tier(parts={}, input_tokens_from=5), "price of a/lab/model: a tier names no price"),
        (tier(parts={"input": -1}, input_tokens_from=5), "price of a/lab/model: a tier names no price, or one below zero"),
        (spoil("extra", 1), "not a snapshot: .*extra"),
        (suspect("a/lab/model"), "price of a/lab/model: given twice"),
        (suspect("a/lab/gone"), "price of a/lab/gone: no such endpoint"),
        (spoil("quarantined", [{"endpoint": "b/lab/model", "cards": [], "reason": "dear"}]), "price of b/lab/model: no card"),
    ],
)
def test_a_wrong_row_is_named(change: Callable[[dict[str, Any]], None], says: str) -> None:
    """Else a slip in the catalogue bills a wrong price, or sends prompts to the wrong place, in silence."""
    rows = small()
    load(rows)
    change(rows)
    with pytest.raises(CatalogFormatError, match=says):
        load(rows)


@pytest.mark.parametrize(
    "change",
    [
        spans((None, 10), (10, 20), (20, None)),
        tier(input_tokens_from=200_001),
        tier(utc_from_min=600, utc_to_min=60),
        tier(utc_from_min=0, utc_to_min=1440),
        tier(service_tier="flex"),
        spoil("endpoints.0.base_url", ""),
        spoil("endpoints.0.id", "b/lab/model:eu"),
        spoil("prices.0.cards.0.parts", {"input": 0, "output": 0}),
        spoil("prices", []),
    ],
)
def test_a_right_row_is_taken(change: Callable[[dict[str, Any]], None]) -> None:
    """Else a lawful price, such as one that changes at midnight, cannot be written down."""
    rows = small()
    change(rows)
    load(rows)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b'{"version": "1"'])
def test_garbage(data: bytes) -> None:
    """Else a file cut in half ends the program with a stack trace of a JSON reader."""
    with pytest.raises(CatalogFormatError, match="not a snapshot"):
        parse(data)


def test_an_address_keeps_the_order() -> None:
    """Else giving one endpoint an address reorders the others."""
    catalog = with_address(load(small()), "b/lab/model", "https://b.example")
    assert [(row.id, row.base_url) for row in catalog.endpoints["lab/model"]] == [
        ("b/lab/model", "https://b.example"),
        ("a/lab/model", "https://a.example/v1"),
    ]


def test_a_suspect_price_is_no_price() -> None:
    """Else a request is billed at a price that nobody believes, or routed by it."""
    rows = small()
    suspect("b/lab/model")(rows)
    assert "b/lab/model" not in load(rows).prices


@pytest.mark.parametrize(
    ("variables", "address"),
    [
        ({"HOST": "my-account.example"}, "https://my-account.example/v1"),
        ({}, ""),
        ({"HOST": ""}, ""),
        ({"HOST": "evil.example/x?"}, ""),
        ({"HOST": "user@evil.example"}, ""),
        ({"HOST": "-"}, ""),
    ],
)
def test_an_address_of_the_operators_own(variables: dict[str, str], address: str) -> None:
    """Else prompts go to an address with a hole in it, or to one that a value in the environment bent."""
    rows = small()
    rows["endpoints"][0]["base_url"] = "https://${HOST}/v1"
    catalog = with_variables(load(rows), variables)
    assert [row.base_url for row in catalog.endpoints["lab/model"]] == [address, "https://a.example/v1"]
    assert [row.address_variables for row in catalog.endpoints["lab/model"]] == [() if address else ("HOST",), ()]


def test_an_address_names_all_that_it_lacks() -> None:
    """Else an operator sets one variable after the other, and restarts in between."""
    rows = small()
    rows["endpoints"][0]["base_url"] = "https://${REGION}.example/${PROJECT}/${REGION}/${SET}"
    (lacking, _) = with_variables(load(rows), {"SET": "x"}).endpoints["lab/model"]
    assert (lacking.base_url, lacking.address_variables) == ("", ("REGION", "PROJECT"))
    located = with_address(with_variables(load(rows), {}), lacking.id, "https://b.example")
    assert located.endpoints["lab/model"][0].address_variables == ()
