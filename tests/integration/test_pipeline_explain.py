"""Preferences from the wire to the endpoints that are tried, and Explain, which tells them without trying any."""

import argparse
import asyncio
import json
import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from junctor.bootstrap import core
from junctor.cli.explain import add_explain, run_explain
from junctor.client import Client, ExplainResponse, ProviderList, RoutingPreferences, Sort
from junctor.v1.completion_pb2 import Tool
from junctor.v1.routing_pb2 import MaxPrice
from tests.support.harness import Router, running_router
from tests.support.pipeline import FIRST, MODEL, SECOND, Rig, outcomes, refusal, slots, two_endpoints
from tests.support.scripted_upstream import ScriptedUpstream, chat_answer, status

OTHER = "openai/gpt-4o-mini"
DOWN = status(500, b'{"error": {"message": "down"}}')


def tried(found: ExplainResponse) -> list[str]:
    """Name the endpoints that would be tried."""
    return [row.endpoint for row in found.candidates]


def reasons(found: ExplainResponse) -> dict[str, str]:
    """Return why the endpoints that would not be tried would not."""
    return {row.endpoint: row.reason for row in found.excluded}


async def nothing_done(rig: Rig) -> None:
    """Check that no provider was asked and nothing was held."""
    assert rig.first.requests == rig.second.requests == []
    assert await slots(rig.router) == []


async def test_explain_tells_what_is_done(tmp_path: Path) -> None:
    """What Explain promises would not be what a call does."""
    async with two_endpoints(tmp_path, DOWN, chat_answer("Hi.")) as rig, rig.router.client() as client:
        found = await client.explain("Hi", model=MODEL, max_tokens=10)
        await nothing_done(rig)
        answer = await client.complete("Hi", model=MODEL, max_tokens=10)
    assert tried(found) == [FIRST, SECOND] == [endpoint for endpoint, _ in outcomes(answer.route.attempts)]
    assert {row.model for row in found.candidates} == {MODEL}
    assert [row.provider for row in found.candidates] == ["groq", "openrouter"]
    assert all(0 < row.ceiling_nanousd < 10**7 for row in found.candidates)
    assert [row.weight for row in found.candidates] == [1.0, 1.0]
    assert not any(row.HasField("success_probability") for row in found.candidates)
    assert all(0 < row.expected_nanousd < row.ceiling_nanousd for row in found.candidates)
    assert [row.purchase_fee_ppm for row in found.candidates] == [0, 55_000]
    assert [(row.credential_count, row.cooling_credential_count) for row in found.candidates] == [(1, 0), (1, 0)]
    catalog = rig.router.core.catalog.current()
    assert {*tried(found), *reasons(found)} == {endpoint.id for endpoint in catalog.endpoints[MODEL]}
    assert set(reasons(found).values()) <= {"CREDENTIALS_MISSING", "NOT_RUNNING", "DIALECT_UNSUPPORTED", "PRICE_UNKNOWN"}


@pytest.mark.parametrize(
    ("wish", "served", "reason"),
    [
        (RoutingPreferences(ignore=["groq"]), SECOND, "PROVIDER_IGNORED"),
        (RoutingPreferences(only=ProviderList(providers=["openrouter"])), SECOND, "PROVIDER_NOT_IN_ONLY"),
        (RoutingPreferences(order=["openrouter", "groq"]), SECOND, ""),
        (RoutingPreferences(order=["openrouter"], allow_fallbacks=False), SECOND, "FALLBACK_NOT_ALLOWED"),
        (RoutingPreferences(allow_fallbacks=False), FIRST, ""),
    ],
)
async def test_a_preference_is_kept(tmp_path: Path, wish: RoutingPreferences, served: str, reason: str) -> None:
    """A caller's word on where his prompt may go would get lost on its way."""
    async with two_endpoints(tmp_path, chat_answer("1"), chat_answer("2")) as rig, rig.router.client() as client:
        found = await client.explain("Hi", model=MODEL, preferences=wish)
        answer = await client.complete("Hi", model=MODEL, preferences=wish)
    assert (tried(found)[0], answer.route.endpoint) == (served, served)
    assert reasons(found).get(FIRST, "") == reason


async def test_a_fallback_model_takes_over(tmp_path: Path) -> None:
    """A call would fail though its caller named another model that is there."""
    async with two_endpoints(tmp_path, DOWN, DOWN) as rig, rig.router.client() as client:
        rig.router.core.catalog.locate(f"openai/{OTHER}", rig.second.base_url)
        wish = RoutingPreferences(only=ProviderList(providers=["groq", "openai"]))
        found = await client.explain("Hi", model=MODEL, models=[OTHER], preferences=wish)
        error = await refusal(client.complete("Hi", model=MODEL, models=[OTHER], preferences=wish))
    assert tried(found) == [FIRST, f"openai/{OTHER}"]
    assert error.reason == "UPSTREAM_UNAVAILABLE"
    assert (len(rig.first.requests), len(rig.second.requests)) == (1, 1)


async def test_several_credentials_share_the_calls_and_are_not_named(tmp_path: Path) -> None:
    """A second account would take no call; or any caller could learn the names of his operator's secrets."""
    keys = {"GROQ_API_KEY": "made-up-one", "GROQ_API_KEY_2": "made-up-two", "GROQ_API_KEY_3": "made-up-one"}
    weights = {"JUNCTOR_CREDENTIAL_WEIGHTS": "GROQ_API_KEY_2=2"}
    async with ScriptedUpstream(chat_answer("Hi.")) as upstream:
        running = running_router(tmp_path, {FIRST: upstream.base_url}, settings=weights, credentials=keys)
        async with running as router, router.client() as client:
            found = await client.explain("Hi", model=MODEL)
            assert [(row.endpoint, row.credential_count) for row in found.candidates] == [(FIRST, 2)]
            assert "GROQ_API_KEY" not in str(found)
            for _ in range(40):
                await client.complete("Hi", model=MODEL, max_tokens=5)
    sent = Counter(dict(request.headers)["authorization"] for request in upstream.requests)
    # Two calls in three go to the second: the chance that one of the two gets none of 40 is one in ten million.
    assert sent.keys() == {"Bearer made-up-one", "Bearer made-up-two"}


async def test_a_shared_secret_opens_and_closes_providers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fleet's keys would not be seen; or one that was taken away would be used until a restart."""
    held = {"GROQ_API_KEY": "made-up"}
    vault = SimpleNamespace(get_secret_value=lambda **_: {"SecretString": json.dumps(held)})
    monkeypatch.setattr(core, "secrets_manager", lambda _: vault)
    settings = {"JUNCTOR_CREDENTIALS_SECRET": "junctor/credentials"}
    async with running_router(tmp_path, {}, settings=settings, credentials={}) as router, router.client() as client:
        assert tried(await client.explain("Hi", model=MODEL)) == [FIRST]
        held.clear()
        assert router.core.shared_secret is not None
        await router.core.shared_secret.read()
        found = await client.explain("Hi", model=MODEL)
    assert (tried(found), reasons(found)[FIRST]) == ([], "CREDENTIALS_MISSING")


async def test_what_nothing_can_take_is_explained(tmp_path: Path) -> None:
    """Whoever asks why a call is refused would be refused himself, or be told the first few reasons only."""
    async with running_router(tmp_path, {}, credentials={}) as router, router.client() as client:
        catalog = router.core.catalog.current()
        endpoint = next(row for row in catalog.endpoints[MODEL] if row.provider == "groq")
        many = tuple(msgspec.structs.replace(endpoint, id=f"{endpoint.id}-{number:0100}") for number in range(2_000))
        router.core.catalog._catalog = msgspec.structs.replace(catalog, endpoints={**catalog.endpoints, MODEL: many})
        found = await client.explain("Hi", model=MODEL)
    assert list(found.candidates) == []
    assert list(reasons(found).values()) == ["CREDENTIALS_MISSING"] * 2_000


@pytest.mark.parametrize(
    ("fields", "reason", "places"),
    [
        ({"model": "nobody/nothing"}, "MODEL_NOT_FOUND", []),
        ({"models": ["nobody/nothing"]}, "MODEL_NOT_FOUND", []),
        ({"model": "junctor/auto"}, "INVALID_FIELD", ["spec.model"]),
        ({"model": f"{MODEL}:exacto"}, "INVALID_FIELD", ["spec.model"]),
        ({"preset": "mine"}, "INVALID_FIELD", ["spec.preset"]),
        ({"preferences": RoutingPreferences(order=["nobody"])}, "INVALID_FIELD", ["preferences.order[0]"]),
        (
            {"preferences": RoutingPreferences(sort=Sort(), max_price=MaxPrice(input_picousd=-1))},
            "INVALID_FIELD",
            ["preferences.sort.by", "preferences.max_price.input_picousd"],
        ),
        ({"tools": [Tool(name="t", parameters_json="{")]}, "INVALID_FIELD", ["spec.tools[0].parameters_json"]),
    ],
)
async def test_explain_refuses_what_a_call_is_refused_for(
    tmp_path: Path, fields: dict[str, Any], reason: str, places: list[str]
) -> None:
    """A request would be explained as if it could be made."""
    asked = {"model": MODEL, **fields}
    async with two_endpoints(tmp_path, DOWN, DOWN) as rig, rig.router.client() as client:
        for call in (client.explain("Hi", **asked), client.complete("Hi", **asked)):
            error = await refusal(call)
            assert (error.reason, [place for place, _ in error.field_violations]) == (reason, places)
        await nothing_done(rig)


async def test_the_client_for_threads(tmp_path: Path) -> None:
    """A service without asyncio could not ask for a plan."""

    def ask(router: Router) -> ExplainResponse:
        with Client(router.target, router.api_key) as client:
            return client.explain("Hi", model=MODEL, stop="END", timeout_s=5.0)

    async with two_endpoints(tmp_path, DOWN, DOWN) as rig:
        assert tried(await asyncio.to_thread(ask, rig.router)) == [FIRST, SECOND]


async def command(router: Router, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Run `junctor explain`; return its exit code and what it wrote to standard output and error."""
    parser = argparse.ArgumentParser()
    add_explain(parser.add_subparsers(dest="command"))
    options = parser.parse_args(["explain", *words])
    environ = {"JUNCTOR_TARGET": router.target, "JUNCTOR_API_KEY": router.api_key}
    code = await asyncio.to_thread(run_explain, options, environ)
    return code, *capsys.readouterr()


async def test_the_command_prints_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody at a terminal could see where his calls go, and why."""
    words = ("--model", MODEL, "--max-tokens", "5", "--order", "openrouter, groq", "--ignore", "mistral")
    async with two_endpoints(tmp_path, DOWN, DOWN) as rig:
        code, out, err = await command(rig.router, capsys, "Good morning.", *words)
        await nothing_done(rig)
    lines = [" ".join(line.split()) for line in out.splitlines() if line.strip()]
    assert (code, err) == (0, "")
    assert lines[:2] == ["In this order", "endpoint price expected at most first token health weight"]
    assert re.fullmatch(rf"1 {SECOND} \$0\.0\d+ \+ 5\.5 % \$0\.0\d+ not measured not measured", lines[2])
    assert re.fullmatch(rf"2 {FIRST} \$0\.0\d+ \$0\.0\d+ not measured not measured", lines[3])
    assert "Not tried" in lines or len(lines) == 4
    assert all(line.endswith(("credentials missing", "not running", "unsupported")) for line in lines[5:])


async def test_the_command_prints_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A script could not read where calls go."""
    async with two_endpoints(tmp_path, DOWN, DOWN) as rig:
        code, out, _ = await command(rig.router, capsys, "--model", MODEL, "--only", "groq", "--sort", "price", "--json")
    found = json.loads(out)
    assert code == 0
    assert [row["endpoint"] for row in found["candidates"]] == [FIRST]
    assert (found["candidates"][0]["weight"], found["candidates"][0]["success_probability"]) == (None, None)
    assert {"model": MODEL, "provider": "openrouter", "endpoint": SECOND, "reason": "PROVIDER_NOT_IN_ONLY"} in found["excluded"]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--model", "nobody/nothing"), 1, "MODEL_NOT_FOUND"),
        (("--model", MODEL, "--only", ""), 1, "No endpoint can take this request."),
        (("--model", MODEL, "--only", ""), 1, f"`junctor endpoints {MODEL}` says what would open each."),
        (("--model", MODEL, "--key-file", "nothing-there"), 2, "no key file"),
    ],
)
async def test_the_command_fails_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, told: str
) -> None:
    """A person would see a traceback, or a script success."""
    async with two_endpoints(tmp_path, DOWN, DOWN) as rig:
        found, out, err = await command(rig.router, capsys, *words)
    assert found == code
    assert told in out + err
