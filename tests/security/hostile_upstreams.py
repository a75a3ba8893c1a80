"""Every behaviour of tests/support/hostile against the whole router, as a table: `python -m tests.security.hostile_upstreams`.

Each provider serves a model of its own, and meets a Complete and a Stream. Asked of every call: an ending that errors.md has
for it, in time; no word of the provider's and nobody's secret in an error; a slot that ended, and cost what the call may cost.
Asked of all together: books that are right, and a log that tells of every call, and of no bug and no secret.
"""

import argparse
import asyncio
import socket
import ssl
import tempfile
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import grpc.aio
from msgspec import Struct

from junctor.adapters.providers.gateway import Gateway
from junctor.domain.lease import SlotState
from junctor.v1.completion_pb2 import ROLE_USER, CompletionSpec, Message, Part, TextPart
from junctor.v1.router_service_pb2 import CompleteRequest, ExplainRequest, ExplainResponse, StreamRequest
from tests.support.certificates import self_signed
from tests.support.harness import Router, running_router
from tests.support.hearing import Heard, hear
from tests.support.hostile import BEHAVIOURS, LATE, TEXT, Behaviour, elsewhere, redirects
from tests.support.memory import swelling
from tests.support.money import at_rest
from tests.support.pipeline import PATIENCE_S, bearer
from tests.support.scripted_upstream import Request, ScriptedUpstream, Step, chat_answer
from tests.support.slots import generations_by_id
from tests.support.transports import CHOSEN, MAKERS

CREDENTIAL = "credential-canary-83f0"
PROMPT = "prompt-canary-2b7e"
TIMEOUT_S, SPARE_S = 1.5, 1.0
"""What a caller grants, and how much later he may be told at the latest."""
MEMORY_MAX = 100 << 20
"""By how many bytes an answer of any length may swell the process."""
PROVIDER = "openrouter"


class Place(Struct, frozen=True):
    """A behaviour, the model that only its provider serves, and the most that a call of it may cost."""

    behaviour: Behaviour
    model: str
    ceiling_nanousd: int


class Row(Struct, frozen=True):
    """One behaviour, met by a Complete or a Stream. `grown`: by how many bytes the process swelled, where that was watched."""

    name: str
    method: str
    heard: Heard
    problems: tuple[str, ...]
    grown: int | None = None

    def line(self) -> str:
        """Write it for people."""
        grown = "" if self.grown is None else f"+{self.grown >> 20} MiB"
        found = "; ".join(self.problems) or "as it should"
        return f"{self.name:<42} {self.method:<9} {self.heard.how:<40} {self.heard.took_s:5.2f} s {grown:>9}  {found}"


async def play(folder: Path, transport: str, behaviours: Sequence[Behaviour] | None = None) -> tuple[list[Row], list[str]]:
    """Meet all behaviours on a transport, or only these; return the rows, and what is wrong with what was left behind."""
    async with _places(folder, transport, behaviours) as (router, places, channel):
        meetings = [
            (place, method) for place in places for method in ("Complete", "Stream") if _script(place.behaviour, method)
        ]
        meet = partial(_met, router, channel)
        quick = [meeting for meeting in meetings if not _may_be_late(*meeting)]

        async def in_turn() -> list[Row]:
            return [await meet(*meeting) for meeting in quick]

        # Those that take all of a caller's time take it side by side.
        turns = asyncio.create_task(in_turn())
        rows = list(await asyncio.gather(*(meet(*meeting) for meeting in meetings if meeting not in quick)))
        rows += await turns
        return rows, await _left_behind(router, places, len(rows))


@asynccontextmanager
async def _places(
    folder: Path, transport: str, behaviours: Sequence[Behaviour] | None
) -> AsyncGenerator[tuple[Router, list[Place], grpc.aio.Channel], None]:
    """Run a router on a transport, and each behaviour at an endpoint of its own."""
    async with AsyncExitStack() as stack:
        stack.enter_context(mock.patch.object(socket, "getaddrinfo", _names_known))
        router = await stack.enter_async_context(running_router(folder, {}, credentials={"OPENROUTER_API_KEY": CREDENTIAL}))
        gateway = router.core.services.upstream
        assert isinstance(gateway, Gateway)
        gateway._transport = made = MAKERS[transport](None, None)
        stack.push_async_callback(made.close)
        trap = await stack.enter_async_context(ScriptedUpstream(chat_answer("You should not be here.")))
        found: list[tuple[Behaviour, str]] = []
        for behaviour in behaviours or (*BEHAVIOURS, *redirects(trap.base_url)):
            upstream = await stack.enter_async_context(ScriptedUpstream(partial(_played, behaviour)))
            found.append((behaviour, upstream.base_url))
        if behaviours is None:
            context, _ = self_signed("localhost", folder)
            found += elsewhere(await _port(stack), await _port(stack, context))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(router.target))
        places = [await _place(router, channel, place, at) for place, at in zip(found, _endpoints(router), strict=False)]
        assert len(places) == len(found)
        yield router, places, channel
        assert trap.requests == []


def _endpoints(router: Router) -> list[tuple[str, str]]:
    """Return the endpoints of PROVIDER with their models, the cheapest first: there a lie may cost much and still be paid."""
    catalog = router.core.catalog.current()
    served = [endpoint for every in catalog.endpoints.values() for endpoint in every if endpoint.provider == PROVIDER]
    priced = [
        (catalog.prices[endpoint.id][0].parts.output or 0, endpoint) for endpoint in served if catalog.prices.get(endpoint.id)
    ]
    ranked = sorted((pair for pair in priced if pair[0]), key=lambda pair: pair[0])
    return [(endpoint.id, endpoint.model) for _, endpoint in ranked if "max_tokens" in endpoint.parameters]


async def _place(router: Router, channel: grpc.aio.Channel, found: tuple[Behaviour, str], at: tuple[str, str]) -> Place:
    """Put a behaviour at an endpoint, and ask what a call may cost there."""
    (behaviour, base_url), (endpoint, model) = found, at
    router.core.catalog.locate(endpoint, base_url)
    request = ExplainRequest(spec=_spec(model))
    heard = await hear(channel, "Explain", request.SerializeToString(), bearer(router.api_key), PATIENCE_S)
    (candidate,) = ExplainResponse.FromString(heard.answers).candidates
    return Place(behaviour, model, candidate.ceiling_nanousd)


async def _met(router: Router, channel: grpc.aio.Channel, place: Place, method: str) -> Row:
    """Make a call, and say what is wrong with its ending, and with the memory that a heavy one took."""
    with swelling() if place.behaviour.heavy else nullcontext() as grown:
        row = await _called(router, channel, place, method)
    if grown is None:
        return row
    too_much = ("it takes too much memory",) if grown.bytes > MEMORY_MAX else ()
    return Row(row.name, row.method, row.heard, (*row.problems, *too_much), grown.bytes)


async def _called(router: Router, channel: grpc.aio.Channel, place: Place, method: str) -> Row:
    kind = CompleteRequest if method == "Complete" else StreamRequest
    request = kind(spec=_spec(place.model)).SerializeToString()
    timeout_s = TIMEOUT_S if LATE & _ends(place.behaviour, method) else PATIENCE_S
    heard = await hear(channel, method, request, bearer(router.api_key), timeout_s)
    behaviour, problems = place.behaviour, []
    if heard.how not in _ends(behaviour, method):
        problems.append("ended otherwise than it may")
    if heard.took_s > timeout_s + SPARE_S:
        problems.append("took too long")
    if heard.how != "OK":
        problems += [f"the caller sees {name}" for name, secret in _secrets(router).items() if secret in heard.told]
    return Row(behaviour.name, method, heard, tuple(problems))


async def _left_behind(router: Router, places: Sequence[Place], calls: int) -> list[str]:
    """Say what is wrong with the records, the books and the log of so many calls."""
    await at_rest(router)
    ceilings = {place.model: place for place in places}
    problems: list[str] = []
    for record in (await generations_by_id(router.core.table, router.account)).values():
        if record.state not in {SlotState.SETTLED, SlotState.VOID}:
            problems.append(f"a slot is {record.state.value}")
        place = ceilings.get(record.model)
        if place and not 0 <= (record.cost_nanousd or 0) <= place.ceiling_nanousd:
            problems.append(f"{place.behaviour.name}: {record.cost_nanousd} was charged, {place.ceiling_nanousd} was the most")
    log = router.log.read_bytes()
    ended = sum(b'"kind":"request"' in line and b'"method":"Explain"' not in line for line in log.splitlines())
    if ended != calls:
        problems.append(f"{ended} of {calls} calls came to an end")
    problems += [f"the log has {name}" for name, secret in _secrets(router).items() if secret in log]
    return problems + [f"the log tells of a bug: {line!r}" for line in log.splitlines() if b'"kind":"incident"' in line]


def _secrets(router: Router) -> Mapping[str, bytes]:
    """Return what may be in no error and no log."""
    _, _, secret, _ = router.api_key.split("-")
    texts = {"the provider's text": TEXT, "a credential": CREDENTIAL, "the prompt": PROMPT, "the API key": secret}
    return {name: text.encode() for name, text in texts.items()}


def _spec(model: str) -> CompletionSpec:
    said = Message(role=ROLE_USER, parts=[Part(text=TextPart(text=PROMPT))])
    return CompletionSpec(model=model, messages=[said], max_tokens=64)


def _may_be_late(place: Place, method: str) -> bool:
    return bool(LATE & _ends(place.behaviour, method)) and not place.behaviour.heavy


def _ends(behaviour: Behaviour, method: str) -> frozenset[str]:
    return behaviour.whole_ends if method == "Complete" else behaviour.stream_ends


def _script(behaviour: Behaviour, method: str) -> object:
    return behaviour.whole if method == "Complete" else behaviour.streamed


def _played(behaviour: Behaviour, request: Request) -> Iterator[Step]:
    play_ = behaviour.streamed if request.json.get("stream") else behaviour.whole
    assert play_ is not None
    return play_(request)


async def _port(stack: AsyncExitStack, context: ssl.SSLContext | None = None) -> int:
    """Run a server that refuses whatever is said to it, and return its port."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0, ssl=context)
    stack.push_async_callback(server.wait_closed)
    stack.callback(server.close)
    return int(server.sockets[0].getsockname()[1])


_look_up = socket.getaddrinfo


def _names_known(host: Any, *rest: Any, **named: Any) -> Any:
    """Look a name up, without asking anybody outside of this machine."""
    if str(host).endswith(".invalid"):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return _look_up(host, *rest, **named)


def main() -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.security.hostile_upstreams", description="Meet hostile providers.")
    parser.add_argument("--transport", choices=sorted(MAKERS), default=CHOSEN, help="default: %(default)s")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="junctor-hostile-") as folder:
        rows, problems = asyncio.run(play(Path(folder), options.transport))
    print(*(row.line() for row in rows), *problems, sep="\n")
    wrong = sum(bool(row.problems) for row in rows) + len(problems)
    print(f"{len({row.name for row in rows})} behaviours, {len(rows)} calls, {wrong} not as they should be")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
