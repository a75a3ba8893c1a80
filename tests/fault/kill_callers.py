"""The callers of `poe kill`, and the provider behind the router that is killed under them.

Sixteen callers in a loop, every other one streaming: of a priced model, of a free one, under a key with a limit and by requests
that they name, and of an organisation with too little money. Every call has a usage of its own, so that no record can be taken
for another's. A named request that a kill cut is sent again in the next life, as a caller with a good library would.
"""

import asyncio
from collections.abc import Iterator
from random import Random
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from junctor.client import AsyncClient, JunctorRpcError
from junctor.v1.router_service_pb2 import CompleteResponse, Finished
from tests.fault.audit import Notes, Repeated, Told, Usage, usage_of
from tests.support import harness, pipeline
from tests.support.money import cost
from tests.support.scripted_upstream import Request, ScriptedUpstream, Step, Wait, chat_answer, chat_events, sse

DELAY_MAX_S = 0.03
CALL_TIMEOUT_S = 60.0
BACKOFF_S = 0.02
TOKENS_IN, TOKENS_OUT = 100_000, 5_000
OUTPUT_TOKENS_ASKED = 6_000
CALLERS = 16


class Keys(Struct, frozen=True):
    """The API keys: of an organisation with plenty, one of the same with a limit, and of one with too little."""

    rich: str
    limited: str
    poor: str


class Role(Struct, frozen=True):
    """What a caller does. `named`: whether he names his requests; `capped`: whether his credits may not suffice."""

    api_key: str
    streamed: bool
    model: str = pipeline.MODEL
    max_tokens: int | None = OUTPUT_TOKENS_ASKED
    named: bool = False
    capped: bool = False


class Ask(Struct, frozen=True):
    """One request. `name` is None where its caller does not name it."""

    prompt: str
    name: str | None = None


def usage_for(prompt: str) -> Usage:
    """Return what the provider reports for a prompt that ends with a number: for no other prompt the same."""
    serial = int(prompt.rpartition(" ")[2])
    return Usage(1 + serial % TOKENS_IN, 1 + serial * 7_919 % TOKENS_OUT)


def echoing_provider(rng: Random) -> ScriptedUpstream:
    """Make a provider that says its prompt again, whole or letter by letter, after random small delays."""

    def script(request: Request) -> Iterator[Step]:
        prompt: str = request.json["messages"][-1]["content"]
        usage = usage_for(prompt)
        tokens = (usage.input_tokens, usage.output_tokens)
        delay_s = rng.uniform(0, DELAY_MAX_S)
        if request.json["stream"]:
            pace_s = delay_s / len(prompt) if rng.random() < 0.5 else 0.0
            yield from sse(chat_events([{"content": letter} for letter in prompt], tokens), pace_s)
        else:
            yield Wait(delay_s)
            yield from chat_answer(prompt, usage=tokens)

    return ScriptedUpstream(script)


def roles(keys: Keys) -> list[Role]:
    """Return what each caller does."""
    kinds = [
        *(Role(keys.rich, streamed=False),) * 4,
        *(Role(keys.limited, streamed=False, named=True),) * 2,
        Role(keys.rich, streamed=False, model=harness.MODEL, max_tokens=None),
        Role(keys.poor, streamed=False, capped=True),
    ]
    return [replace(one, streamed=streamed) for one in kinds for streamed in (False, True)]


class Callers:
    """All callers, from the start of a router to its death, and again. `shaken`: the store is killed under it, too."""

    def __init__(self, notes: Notes, keys: Keys, rng: Random, *, shaken: bool = False) -> None:
        self.notes = notes
        self._roles = roles(keys)
        self._cut: list[list[Ask]] = [[] for _ in self._roles]
        self._rng = rng
        self._serial = 0
        self._tolerated = {"LEDGER_UNAVAILABLE"} if shaken else set[str]()
        self.killed = False
        self.interrupted = 0
        self.refused = 0
        self.busy = asyncio.Event()

    async def call(self, target: str) -> None:
        """Call until the router is killed; `busy` is set with the first answer."""
        self.killed = False
        self.busy.clear()
        await asyncio.gather(*(self._loop(target, number) for number in range(CALLERS)))

    async def ask_again(self, target: str) -> None:
        """Send every named request that was cut once more; each must have its answer now, or have had it."""
        for role, cut in zip(self._roles, self._cut, strict=True):
            async with AsyncClient(target, role.api_key) as client:
                for ask in tuple(cut):
                    await self._one(client, role, ask, cut)
            self.notes.wrong += [f"{ask} has no answer, and cannot have one" for ask in cut]

    async def _loop(self, target: str, number: int) -> None:
        role, cut = self._roles[number], self._cut[number]
        async with AsyncClient(target, role.api_key) as client:
            for ask in tuple(cut):
                await self._one(client, role, ask, cut)
            while not self.killed:
                self._serial += 1
                name = str(UUID(int=self._rng.getrandbits(128), version=4)) if role.named else None
                await self._one(client, role, Ask(f"{'stream' if role.streamed else 'complete'} {self._serial}", name), cut)

    async def _one(self, client: AsyncClient, role: Role, ask: Ask, cut: list[Ask]) -> None:
        """Make one call, and note what is told of it."""
        known = ask in cut
        try:
            await (self._stream(client, role, ask) if role.streamed else self._complete(client, role, ask))
        except JunctorRpcError as error:
            if known and error.reason == "REQUEST_COMPLETED":
                told = Repeated(error.metadata["generation_id"], int(error.metadata["cost_nanousd"]))
                self.notes.repeated.append(told)
            elif known and error.reason == "REQUEST_IN_PROGRESS":
                return  # by a server that is dead, until its lease is reclaimed
            elif self.killed or error.reason in self._tolerated:
                await self._failed(ask, cut, error)
                return
            elif role.capped and error.reason == "INSUFFICIENT_CREDITS":
                self.notes.refused.add(usage_for(ask.prompt))
                self.refused += 1
                await asyncio.sleep(BACKOFF_S)
            else:
                self.notes.wrong.append(f"{ask} failed on a living server: {error}")
        if known:
            cut.remove(ask)

    async def _failed(self, ask: Ask, cut: list[Ask], error: JunctorRpcError) -> None:
        """Take note of a call that was cut, or refused for now; one that is named can be sent again."""
        if self.killed:
            self.interrupted += 1
        else:
            self.refused += 1
            await asyncio.sleep(BACKOFF_S)
        if ask.name is None:
            if error.reason == "LEDGER_UNAVAILABLE":
                self.notes.refused.add(usage_for(ask.prompt))
        elif ask not in cut:
            cut.append(ask)

    async def _complete(self, client: AsyncClient, role: Role, ask: Ask) -> None:
        response = await client.complete(
            ask.prompt, model=role.model, timeout_s=CALL_TIMEOUT_S, max_tokens=role.max_tokens, request_id=ask.name
        )
        text = "".join(part.text.text for part in response.choices[0].message.parts)
        self._note(role, ask, text, response.generation_id, response)

    async def _stream(self, client: AsyncClient, role: Role, ask: Ask) -> None:
        generation_id, text = "", ""
        stream = client.stream(
            ask.prompt, model=role.model, timeout_s=CALL_TIMEOUT_S, max_tokens=role.max_tokens, request_id=ask.name
        )
        async with stream as events:
            async for event in events:
                if event.HasField("opened"):
                    generation_id = event.opened.generation_id
                    self.notes.opened.append(generation_id)
                elif event.HasField("delta"):
                    text += event.delta.content
                elif event.HasField("finished"):
                    self._note(role, ask, text, generation_id, event.finished)

    def _note(self, role: Role, ask: Ask, text: str, generation_id: str, end: CompleteResponse | Finished) -> None:
        usage = usage_of(end.usage)
        told = Told(
            generation_id=generation_id,
            streamed=role.streamed,
            model=end.route.served_model,
            provider=end.route.provider,
            endpoint=end.route.endpoint,
            usage=usage,
            cost_nanousd=end.cost.cost_nanousd if end.HasField("cost") else None,
            pending=end.billing_pending,
            price_nanousd=cost(usage.input_tokens, usage.output_tokens) if role.model == pipeline.MODEL else 0,
            capped=role.capped,
        )
        self.notes.answered.append(told)
        self.busy.set()
        if text != ask.prompt or usage != usage_for(ask.prompt):
            self.notes.wrong.append(f"{generation_id} answered {ask.prompt!r} with another call's text or usage")
