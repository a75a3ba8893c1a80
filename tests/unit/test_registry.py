"""providers.toml and its reader: a mistake in a row is found at start, and told by the row's name."""

import asyncio

import pytest

from junctor.adapters.net.transport import Transport
from junctor.adapters.providers import registry
from junctor.adapters.providers.gateway import Gateway
from junctor.adapters.providers.registry import RegistryError
from tests.support.gateway_rig import FixedSecrets, candidate


def test_the_packaged_rows_are_there() -> None:
    """A provider without its row cannot be called at all."""
    rows = registry.load()
    for slug in ("openai", "groq", "mistral", "deepseek", "openrouter", "local"):
        row = rows.row(slug)
        assert row.dialect == "openai_chat"
        assert row.auth.style == "bearer"


def test_deviations_are_as_recorded() -> None:
    """Mistral refuses stream_options and foreign call ids, and DeepSeek wants its reasoning back: calls would fail with 400."""
    mistral = registry.load().row("mistral").quirks
    assert mistral.max_tokens_field == "max_tokens"
    assert mistral.seed_field == "random_seed"
    assert mistral.required_tool_choice == "any"
    assert mistral.tool_call_ids == "nine_alphanumeric"
    assert not mistral.asks_for_stream_usage
    deepseek = registry.load().row("deepseek").quirks
    assert (deepseek.reasoning_request, deepseek.reasoning_replay) == ("thinking_type", "reasoning_content")
    assert registry.load().row("openrouter").quirks.reasoning_request == "reasoning_object"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[a]\ndialect = "d"\ncolour = "red"', "colour"),
        ('[a]\ndialect = "d"\nquirks.max_token_field = "x"', "max_token_field"),
        ('[a]\ndialect = "d"\nquirks.max_tokens_field = "tokens_max"', "max_tokens_field"),
        ('[a]\nquirks.seed_field = "s"', "dialect"),
        ('[a]\ndialect = "d"\nauth.style = "magic"', "style"),
        ('[a]\ndialect = "d"\nauth.style = "header"', "header"),
        ('[a]\ndialect = "d"\nauth.header = "x-api-key"', "header"),
        ('[a]\ndialect = "d"\nauth = {style = "header", header = "host"}', "header"),
        ("a = 1", "object"),
    ],
)
def test_a_wrong_row_is_named(text: str, told: str) -> None:
    """A misspelt quirk that is ignored would send wrong requests, and nobody could tell why."""
    with pytest.raises(RegistryError, match=rf"row 'a'.*{told}"):
        registry.parse(text)


@pytest.mark.parametrize("text", ["[a", '["A b"]\ndialect = "d"', '[a]\ndialect = "d"\n[a]\ndialect = "d"'])
def test_a_file_that_makes_no_sense_is_refused(text: str) -> None:
    """Half a file, a slug that no endpoint can have, or a row that stands twice would lose a provider in silence."""
    with pytest.raises(RegistryError):
        registry.parse(text)


def test_an_unknown_dialect_stops_the_start() -> None:
    """A row whose dialect does not exist would fail at its first call, perhaps days later."""
    rows = registry.parse('[strange]\ndialect = "smoke_signals"')

    async def start() -> None:
        Gateway(rows, {}, Transport(), FixedSecrets({}))

    with pytest.raises(RegistryError, match=r"'strange'.*'smoke_signals'"):
        asyncio.run(start())


def test_an_endpoint_needs_its_row_and_dialect() -> None:
    """A catalogue that names an unknown provider, or another dialect than its provider's, would fail at the call."""
    rows = registry.load()
    good = candidate("http://127.0.0.1/v1").endpoint
    rows.check_endpoints([good])
    with pytest.raises(RegistryError, match="nobody"):
        rows.check_endpoints([good, candidate("http://127.0.0.1/v1", provider="nobody").endpoint])
    other = registry.parse('[local]\ndialect = "other"')
    with pytest.raises(RegistryError, match=r"local/test/model"):
        other.check_endpoints([good])
