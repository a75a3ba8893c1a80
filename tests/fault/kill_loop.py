"""Does a record survive whatever kills the server? `poe kill`: kill -9 at random moments under 16 concurrent calls.

A router in a process of its own answers Complete and Stream from a provider in this one; every call has a usage of its own, so
that no record can be taken for another's. After each death the store is read with no server on it, and held to what callers
were told. It says nothing of power loss: what SIGKILL spares, the page cache, is spared here too. The seed fixes when the
kills come and how slow the provider is; how the calls interleave is the machine's.
"""

import argparse
import asyncio
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

from msgspec import Struct

from junctor.bootstrap.core import open_store
from junctor.client import AsyncClient, JunctorRpcError
from junctor.domain.generation import Generation
from junctor.domain.lease import SlotState
from junctor.records.tables import CORE
from junctor.v1.router_service_pb2 import CompleteResponse, Finished
from tests.fault.audit import Notes, Told, Usage, usage_of, violations
from tests.support.harness import MODEL
from tests.support.router_process import opened_core, router_process, settings_of
from tests.support.scripted_upstream import Request, ScriptedUpstream, Step, Wait, chat_answer, chat_events, sse
from tests.support.slots import generations_by_id

CALLERS = 16
KILL_AFTER_S = (0.2, 1.5)
DELAY_MAX_S = 0.03
CALL_TIMEOUT_S = 60.0


class Report(Struct, frozen=True, kw_only=True):
    """What came of it. `interrupted` counts the calls that a kill cut, `states` the records."""

    seed: int
    kills: int
    answered: int
    opened: int
    interrupted: int
    states: dict[str, int]
    violations: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """Write it for people."""
        yield f"seed                  {self.seed}"
        yield f"kills -9              {self.kills}"
        yield f"calls answered        {self.answered}"
        yield f"streams opened        {self.opened}"
        yield f"calls cut by a kill   {self.interrupted}"
        yield f"records checked       {sum(self.states.values())}"
        for state, number in sorted(self.states.items()):
            yield f"  {state:<19} {number}{'  (of calls that were not answered)' if state == SlotState.OPEN.value else ''}"
        yield f"violations            {len(self.violations)}"
        yield from (f"  {violation}" for violation in self.violations[:50])


class Callers:
    """Sixteen callers in a loop, half of them streaming, from the start of a router to its death."""

    def __init__(self, notes: Notes, api_key: str) -> None:
        self.notes = notes
        self._api_key = api_key
        self._serial = 0
        self.killed = False
        self.interrupted = 0

    async def call(self, target: str) -> None:
        """Call until the router is killed."""
        self.killed = False
        await asyncio.gather(*(self._loop(target, streamed=number % 2 == 1) for number in range(CALLERS)))

    async def _loop(self, target: str, *, streamed: bool) -> None:
        async with AsyncClient(target, self._api_key) as client:
            while not self.killed:
                self._serial += 1
                prompt = f"{'stream' if streamed else 'complete'} {self._serial}"
                try:
                    await (self._stream(client, prompt) if streamed else self._complete(client, prompt))
                except JunctorRpcError as error:
                    if not self.killed:
                        self.notes.wrong.append(f"{prompt!r} failed on a living server: {error}")
                        return
                    self.interrupted += 1

    async def _complete(self, client: AsyncClient, prompt: str) -> None:
        response = await client.complete(prompt, model=MODEL, timeout_s=CALL_TIMEOUT_S)
        text = "".join(part.text.text for part in response.choices[0].message.parts)
        self._note(prompt, text, response.generation_id, response, streamed=False)

    async def _stream(self, client: AsyncClient, prompt: str) -> None:
        generation_id, text = "", ""
        async with client.stream(prompt, model=MODEL, timeout_s=CALL_TIMEOUT_S) as events:
            async for event in events:
                if event.HasField("opened"):
                    generation_id = event.opened.generation_id
                    self.notes.opened.append(generation_id)
                elif event.HasField("delta"):
                    text += event.delta.content
                elif event.HasField("finished"):
                    self._note(prompt, text, generation_id, event.finished, streamed=True)

    def _note(self, prompt: str, text: str, generation_id: str, end: CompleteResponse | Finished, *, streamed: bool) -> None:
        told = Told(
            generation_id=generation_id,
            streamed=streamed,
            model=end.route.served_model,
            provider=end.route.provider,
            endpoint=end.route.endpoint,
            usage=usage_of(end.usage),
            cost_nanousd=end.cost.cost_nanousd if end.HasField("cost") else None,
            pending=end.billing_pending,
        )
        self.notes.answered.append(told)
        if text != prompt or told.usage != usage_for(prompt):
            self.notes.wrong.append(f"{generation_id} answered {prompt!r} with another call's text or usage")


def usage_for(prompt: str) -> Usage:
    """Return what the provider reports for a prompt: as a rule for no other prompt the same."""
    return Usage(1 + zlib.crc32(prompt.encode()) % 100_000, 1 + zlib.adler32(prompt.encode()) % 10_000)


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


async def kill_loop(folder: Path, *, kills: int, seed: int) -> Report:
    """Kill a loaded router `kills` times, and check its store after each."""
    moments, provider = Random(f"{seed}/kills"), echoing_provider(Random(f"{seed}/provider"))
    async with opened_core(folder) as core:
        account = (await core.accounts.create_organisation("killed")).id
        callers = Callers(Notes(), await core.accounts.create_api_key(account, "killed"))
    notes = callers.notes
    done, found = 0, tuple[str, ...]()
    records: dict[str, Generation] = {}
    async with provider as upstream:
        while done < kills and not found:
            async with router_process(folder, upstream.base_url) as router:
                calling = asyncio.create_task(callers.call(router.target))
                await asyncio.sleep(moments.uniform(*KILL_AFTER_S))
                callers.killed = True
                await router.kill()
                await calling
            done += 1
            records = await _records(folder, account)
            found = violations(notes, records)
    return Report(
        seed=seed,
        kills=done,
        answered=len(notes.answered),
        opened=len(notes.opened),
        interrupted=callers.interrupted,
        states=Counter(record.state.value for record in records.values()),
        violations=found,
    )


async def _records(folder: Path, account: str) -> dict[str, Generation]:
    store = open_store(settings_of(folder))
    try:
        return await generations_by_id(store.table(CORE), account)
    finally:
        await store.close()


def main() -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="poe kill", description="Kill a loaded server at random moments and audit its records."
    )
    parser.add_argument("--kills", type=int, default=20, help="how often to kill it (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="fixes the moments and the delays (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="junctor-kill-") as folder:
        report = asyncio.run(kill_loop(Path(folder), kills=options.kills, seed=options.seed))
    print(*report.lines(), sep="\n")
    return 1 if report.violations or not report.answered else 0


if __name__ == "__main__":
    raise SystemExit(main())
