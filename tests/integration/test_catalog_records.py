"""An operator changes the catalogue of a running router from a terminal: what is served, sent and charged from then on."""

import argparse
import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from junctor.bootstrap import native
from junctor.cli import admin
from junctor.cli.admin import ADMIN_KEY
from junctor.cli.catalog import add_catalog
from junctor.domain.account import KeyScope
from junctor.doors.rpc import catalog_admin
from junctor.settings import ADMIN_TARGET_VARIABLE, Settings
from junctor.usecases.catalog_changes import CatalogChanges
from junctor.v1 import catalog_admin_service_pb2 as pb
from tests.support.harness import CREDENTIALS, Router, running_router
from tests.support.money import ask
from tests.support.pipeline import refusal
from tests.support.scripted_upstream import Request, ScriptedUpstream, Step, Wait, chat_answer

MODEL = "openai/gpt-oss-120b"
GROQ = f"groq/{MODEL}"
SECRET = "made-up-own"
FREE, ONE = ("--input", "0", "--output", "0"), ("--input", "1", "--output", "1")


class Shell:
    """Runs `junctor catalog ...` as the operator of a router, which takes every change up at once."""

    def __init__(self, router: Router, target: str, key: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.router = router
        self.capsys = capsys
        self.environ = {ADMIN_TARGET_VARIABLE: target, ADMIN_KEY.variable: key}

    async def run(self, *words: str) -> tuple[int, str, str]:
        """Run a command; return its exit code and what it wrote to standard output and error."""
        parser = argparse.ArgumentParser()
        add_catalog(parser.add_subparsers(dest="command"))
        options = parser.parse_args(("catalog", *words))
        code = await asyncio.to_thread(admin.run, options, self.environ)
        await self.router.core.overlay.refresh()
        return code, *self.capsys.readouterr()

    async def json(self, *words: str) -> Any:
        """Run a command that must succeed, for its JSON."""
        code, out, err = await self.run(*words, "--json")
        assert code == 0, err
        return json.loads(out)


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    """Return a server of 5 input and 2 output tokens, at loopback, where own endpoints may be by default."""
    async with ScriptedUpstream(chat_answer("Hi.")) as made:
        yield made


@asynccontextmanager
async def beside_router(
    folder: Path, upstream: ScriptedUpstream, capsys: pytest.CaptureFixture[str]
) -> AsyncGenerator[Shell, None]:
    """Run a router of which one listed endpoint answers, and yield a shell beside it."""
    credentials = {"GROQ_API_KEY": CREDENTIALS["GROQ_API_KEY"], "ENDPOINT_KEY_OWN": SECRET}
    async with running_router(folder, {GROQ: upstream.base_url}, credentials=credentials) as router:
        server = native.admin_server(router.core, Settings.from_environment({"JUNCTOR_ADMIN_LISTEN": "127.0.0.1:0"}))
        target = f"127.0.0.1:{await server.start()}"
        try:
            key = await router.core.accounts.create_api_key("", "k", KeyScope.OPERATOR)
            yield Shell(router, target, key, capsys)
        finally:
            await server.drain(5.0)


@pytest.fixture
async def shell(tmp_path: Path, upstream: ScriptedUpstream, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Shell]:
    """Return a shell beside a router."""
    async with beside_router(tmp_path, upstream, capsys) as made:
        yield made


async def test_a_price_is_set_listed_and_removed(shell: Shell) -> None:
    """An operator could not charge what he agreed with a provider, or not see what he charges."""
    listed = (await ask(shell.router, streamed=False)).cost_nanousd
    assert await shell.json("override", "set", GROQ, "--input", "2.000001", "--output", "3", "--note", "why") == {"version": 1}
    assert (await ask(shell.router, streamed=False)).cost_nanousd == -(-(5 * 2_000_001 + 2 * 3_000_000) // 1000)
    (found,) = (await shell.json("override", "list"))["price_overrides"]
    assert (found["endpoint"], found["parts"]["input"], found["valid_from_ms"]) == (GROQ, 2_000_001, None)
    code, out, _ = await shell.run("override", "list")
    assert (code, "2.000001 / 3" in out, "why" in out) == (0, True, True)
    assert await shell.json("override", "remove", GROQ) == {"version": 2}
    assert (await ask(shell.router, streamed=False)).cost_nanousd == listed
    code, _, err = await shell.run("override", "remove", GROQ)
    assert (code, "There is no price override" in err) == (1, True)


async def test_a_call_under_way_keeps_the_price_that_it_began_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A caller would be charged more than was held for him, or by a price that he never saw."""
    gate = asyncio.Event()

    def gated(_: Request) -> Iterator[Step]:
        while not gate.is_set():
            yield Wait(0.01)
        yield from chat_answer("Hi.")

    async with ScriptedUpstream(gated) as upstream, beside_router(tmp_path, upstream, capsys) as shell:
        await shell.json("override", "set", GROQ, *ONE)
        under_way = asyncio.create_task(ask(shell.router, streamed=False))
        await upstream.arrived()
        await shell.json("override", "set", GROQ, "--input", "50", "--output", "60")
        gate.set()
        assert (await under_way).cost_nanousd == 5 * 1_000 + 2 * 1_000
        assert (await ask(shell.router, streamed=False)).cost_nanousd == 5 * 50_000 + 2 * 60_000


async def test_a_discount_lowers_what_is_charged(shell: Shell) -> None:
    """What a provider takes off would not reach the organisations."""
    listed = (await ask(shell.router, streamed=False)).cost_nanousd or 0
    assert await shell.json("discount", "set", "groq", "50") == {"version": 1}
    charged = (await ask(shell.router, streamed=False)).cost_nanousd or 0
    assert listed / 2 <= charged <= listed / 2 + 1
    code, out, _ = await shell.run("discount", "list")
    assert (code, "50 % off" in out) == (0, True)
    assert await shell.json("discount", "remove", "groq") == {"version": 2}
    assert (await shell.json("discount", "list"))["discounts"] == []


async def test_an_own_endpoint_is_served_with_its_own_key(shell: Shell, upstream: ScriptedUpstream) -> None:
    """An organisation could not route to its own servers, or would send them the key of somebody else."""
    words = ("--input", "0.01", "--output", "0.02", "--credential", "ENDPOINT_KEY_OWN", "--context", "4096", "--no-trains")
    assert await shell.json("endpoint", "add", "vllm-eu", "lab/own", upstream.base_url, *words) == {"version": 1}
    told = await ask(shell.router, streamed=False, model="lab/own")
    assert told.cost_nanousd == -(-(5 * 10_000 + 2 * 20_000) // 1000)
    sent = upstream.requests[-1]
    assert (sent.headers["authorization"], sent.json["model"]) == (f"Bearer {SECRET}", "lab/own")
    (found,) = (await shell.json("endpoint", "list"))["private_endpoints"]
    assert (found["id"], found["credential"], found["data_policy"]["trains"]) == ("vllm-eu/lab/own", "ENDPOINT_KEY_OWN", False)
    assert found["parameters"] == ["max_tokens", "stop", "temperature", "top_p"]
    code, out, _ = await shell.run("endpoint", "list")
    assert (code, upstream.base_url in out, SECRET in out) == (0, True, False)
    await shell.json("endpoint", "add", "vllm-eu", "lab/unbound", upstream.base_url, *FREE, "--credential", "ENDPOINT_KEY_OWN")
    assert (await ask(shell.router, streamed=False, model="lab/unbound")).cost_nanousd == 0
    await shell.json("endpoint", "remove", "vllm-eu/lab/own")
    error = await refusal(ask(shell.router, streamed=False, model="lab/own"))
    assert error.reason == "MODEL_NOT_FOUND"


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (("override", "set", "groq/lab/gone", *ONE), "price_override.endpoint"),
        (("override", "set", "nonsense", *ONE), "price_override.endpoint"),
        (("override", "set", GROQ, *ONE, "--request", "2"), "price_override.parts.request"),
        (
            ("override", "set", GROQ, *ONE, "--from", "2027-01-02", "--until", "2027-01-01"),
            "price_override.valid_to_ms",
        ),
        (("discount", "set", "groq", "0"), "discount.off_ppm"),
        (("discount", "set", "gone", "5"), "discount.subject"),
        (("endpoint", "add", "groq", "lab/x", "https://8.8.8.8", *FREE), "private_endpoint.provider"),
        (("endpoint", "add", "own", "lab/x", "http://8.8.8.8", *FREE), "private_endpoint.base_url"),
        (
            ("endpoint", "add", "own", "lab/x:free", "https://8.8.8.8", *FREE),
            "private_endpoint.model",
        ),
        (
            (
                "endpoint",
                "add",
                "own",
                "lab/x",
                "https://8.8.8.8",
                "--input",
                "0",
                "--output",
                "0",
                "--credential",
                "OPENAI_API_KEY",
            ),
            "private_endpoint.credential",
        ),
        (
            ("endpoint", "add", "own", "lab/x", "https://8.8.8.8", *FREE, "--parameters", "magic"),
            "private_endpoint.parameters[0]",
        ),
        (
            ("endpoint", "add", "own", "lab/x", "https://8.8.8.8", *FREE, "--context", "2147483647"),
            "private_endpoint.context_tokens",
        ),
    ],
)
async def test_what_is_wrong_is_told_by_its_field(shell: Shell, words: tuple[str, ...], field: str) -> None:
    """A slip would be found by callers, or an environment's other secrets be sent to a server of somebody's choice."""
    code, out, err = await shell.run(*words)
    assert (code, out) == (1, "")
    assert field in err
    assert (await shell.json("override", "list"))["version"] == 0


async def test_a_command_can_insist_on_what_its_author_saw(shell: Shell) -> None:
    """Two operators at work would undo each other's changes."""
    assert await shell.json("discount", "set", "groq", "5", "--if-version", "0") == {"version": 1}
    code, _, err = await shell.run("discount", "set", "groq", "6", "--if-version", "0")
    assert (code, "at the same time" in err) == (1, True)


def test_every_method_is_served_to_operators_alone() -> None:
    """A method of the service would be missing, or open to other keys."""
    methods = catalog_admin.methods(cast("CatalogChanges", None))  # none is called
    service = pb.DESCRIPTOR.services_by_name["CatalogAdminService"]
    assert set(methods) == {method.name for method in service.methods}
    for method in service.methods:
        row = methods[method.name]
        assert (row.request.DESCRIPTOR.full_name, set(row.scopes)) == (method.input_type.full_name, {KeyScope.OPERATOR})
