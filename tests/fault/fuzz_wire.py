"""Can anything that is sent bring the server out of countenance? `poe fuzz-wire`: thousands of requests that nobody sane sends.

A real server, ledger and store in this process, behind a provider that answers whatever reaches it; the requests go out as raw
bytes, one of twenty-one to a method that manages (fuzz_control). Each must end as errors.md says (fuzz_judge), in time; what
reaches the provider must be JSON that says nothing twice; the ledger must know exactly the calls that were answered, and take
what they cost; the log must tell of no bug; and the server must answer a good call at the end. The seed fixes every request,
but for names that the run's own store gave. Each of several jobs has a server of its own.

A machine that stands still for seconds makes all calls late that are under way. One that was late is therefore sent once more,
alone, and is a violation if it is late again; those that were late once are told, and more of them than a standstill makes
are a violation too.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from random import Random

import grpc
import grpc.aio
from msgspec import Struct

from junctor.client import JunctorRpcError
from junctor.domain.lease import SlotState
from junctor.records.tables import CORE
from junctor.v1.router_service_pb2 import CompleteResponse, StreamResponse
from tests.fault import fuzz_control
from tests.fault.fuzz_cases import Case, make_case
from tests.fault.fuzz_control import ControlCase, make_control_case
from tests.fault.fuzz_judge import SETTINGS, Ending, faults, read_json, wrong
from tests.support.control_requests import response_of
from tests.support.control_wire import ControlWire, running_control
from tests.support.harness import CREDENTIALS, MODEL, Router, running_router
from tests.support.hearing import SERVICE, reason_of
from tests.support.money import spent
from tests.support.scripted_upstream import Request, ScriptedUpstream, Step, chat_answer, chat_events, sse, status
from tests.support.slots import generations_by_id

CONCURRENCY = 16
CONTROL_EVERY, FURNISHED_EVERY = 21, 8000
"""One request of so many is to a method that manages, and after so many of all it is about another house."""
CALL_TIMEOUT_S = 10.0
LATE_S = 8.0
"""What took longer is late: by then the server, which ends a call within its deadline, may have given it up."""

LATE_MAX = 2 * CONCURRENCY
DECODABLE_LEAST = 0.1
HEX_SHOWN = 4000
WITHOUT_CREDENTIALS = "GROQ_API_KEY"
GROUPS = ("noise", "mutated", "credentials", "control")

AnyCase = Case | ControlCase


class Report(Struct, frozen=True, kw_only=True):
    """What came of it. `endings` counts (group, status, reason); a group is one of GROUPS."""

    seed: int
    requests: int
    mutated: int
    decodable: int
    endings: dict[tuple[str, str, str], int]
    slowest_s: float
    late: tuple[str, ...]
    violations: tuple[str, ...]

    @property
    def decodable_share(self) -> float:
        """Return which share of the mutated messages passed the decoder."""
        return self.decodable / max(self.mutated, 1)

    def lines(self) -> Iterator[str]:
        """Write it for people."""
        yield f"seed                     {self.seed}"
        yield f"requests                 {self.requests}, {self.mutated} of them mutated from valid messages"
        yield f"pass the decoder         {self.decodable} of the mutated ({self.decodable_share:.0%})"
        yield f"slowest answer           {self.slowest_s:.2f} s"
        yield f"{'status':<24} {'reason':<24}" + "".join(f"{group:>12}" for group in GROUPS)
        for code, reason in sorted({(code, reason) for _, code, reason in self.endings}):
            counts = "".join(f"{self.endings.get((group, code, reason), 0):>12}" for group in GROUPS)
            yield f"{code:<24} {reason or '-':<24}{counts}"
        yield f"late once                {len(self.late)}"
        yield from (f"  {late}" for late in self.late)
        yield f"violations               {len(self.violations)}"
        yield from (f"  {violation}" for violation in self.violations[:20])


class Provider:
    """A provider that answers all that it gets, and notes what no provider should get."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.upstream = ScriptedUpstream(self._script)

    def _script(self, request: Request) -> Iterator[Step]:
        pairs: list[tuple[str, object]] = []

        def keep(found: list[tuple[str, object]]) -> dict[str, object]:
            pairs[:] = found
            return dict(found)

        try:
            read_json(request.body, keep)
        except (ValueError, RecursionError):
            self.wrong.append(f"the provider got what is not JSON: {request.body[:HEX_SHOWN].hex()}")
            return iter(status(400))
        body = dict(pairs)
        if len(body) < len(pairs):
            self.wrong.append(f"the provider got a key twice: {request.body[:HEX_SHOWN].hex()}")
        if body["stream"]:
            return sse(chat_events([{"content": "fine"}, {"content": "."}]))
        return iter(chat_answer("fine."))


def together(reports: Sequence[Report]) -> Report:
    """Return one report of several parts of a run."""
    endings: Counter[tuple[str, str, str]] = Counter()
    for report in reports:
        endings.update(report.endings)
    return Report(
        seed=reports[0].seed,
        requests=sum(report.requests for report in reports),
        mutated=sum(report.mutated for report in reports),
        decodable=sum(report.decodable for report in reports),
        endings=dict(endings),
        slowest_s=max(report.slowest_s for report in reports),
        late=tuple(late for report in reports for late in report.late),
        violations=tuple(violation for report in reports for violation in report.violations),
    )


async def fuzz(folder: Path, *, requests: range, seed: int) -> Report:
    """Send the requests to a server of its own, 16 at a time, and judge every ending."""
    provider = Provider()
    async with provider.upstream as upstream:
        # All endpoints lead to the one provider; those of the provider without a credential are left out by the router.
        kept = {name: value for name, value in CREDENTIALS.items() if name != WITHOUT_CREDENTIALS}
        async with running_router(folder, {}, settings=SETTINGS, credentials=kept) as router:
            for served in router.core.catalog.current().endpoints.values():
                for endpoint in served:
                    router.core.catalog.locate(endpoint.id, upstream.base_url)
            async with running_control(router, MODEL, SETTINGS) as wire:
                run = _Run(seed, requests, wire)
                await asyncio.gather(*(run.worker(router.api_key) for _ in range(CONCURRENCY)))
                await run.repeat_late()
            found = [*run.violations, *provider.wrong, *await _aftermath(router, run)]
    return Report(
        seed=seed,
        requests=len(requests),
        mutated=run.mutated,
        decodable=run.decodable,
        endings=dict(run.endings),
        slowest_s=run.slowest_s,
        late=tuple(f"request {case.index}, {case.method}, {case.kind}: {took_s:.1f} s" for case, took_s in run.late),
        violations=tuple(found),
    )


class _Run:
    """The requests that are still to be sent, and what came of the others."""

    def __init__(self, seed: int, requests: range, wire: ControlWire) -> None:
        self._seed = seed
        self._wire = wire
        self._indices = iter(requests)
        self.mutated = 0
        self.decodable = 0
        self.slowest_s = 0.0
        self.late: list[tuple[AnyCase, float]] = []
        self.endings: Counter[tuple[str, str, str]] = Counter()
        self.violations: list[str] = []

    @property
    def answered(self) -> int:
        """Return how many calls of models were answered with OK."""
        return sum(number for (group, code, _), number in self.endings.items() if code == "OK" and group != "control")

    async def worker(self, api_key: str) -> None:
        """Send requests one after the other until there are no more."""
        for index in self._indices:
            if index % FURNISHED_EVERY == FURNISHED_EVERY - 1:
                await self._wire.refurnish()
            case = self._case(index, api_key)
            took_s = await self._ask(case)
            self.slowest_s = max(self.slowest_s, took_s)
            mutated = isinstance(case, Case) and case.mutated
            self.mutated += mutated
            self.decodable += mutated and case.decoded() is not None
            if took_s > LATE_S:
                self.late.append((case, took_s))

    def _case(self, index: int, api_key: str) -> AnyCase:
        if index % CONTROL_EVERY == CONTROL_EVERY - 1:
            return make_control_case(Random(f"control/{self._seed}/{index}"), self._wire.house, index)
        return make_case(self._seed, index, api_key)

    async def repeat_late(self) -> None:
        """Send what was late once more, one by one."""
        if len(self.late) > LATE_MAX:
            self.violations.append(f"{len(self.late)} requests were late")
        for case, first_s in self.late[:LATE_MAX]:
            if (took_s := await self._ask(case)) > LATE_S:
                self._violated(case, f"took {first_s:.1f} s, and alone {took_s:.1f} s")

    async def _ask(self, case: AnyCase) -> float:
        """Send a request, judge how it ended unless it was late, and return how many seconds it took."""
        started_s = time.monotonic()
        if isinstance(case, ControlCase):
            ending = await _send_control(self._wire.channel, case)
            group, problem = "control", fuzz_control.wrong(case, ending)
        else:
            ending = await _send(self._wire.data, case)
            group = "credentials" if case.credentials else "mutated" if case.mutated else "noise"
            problem = wrong(case, ending)
        took_s = time.monotonic() - started_s
        self.endings[group, ending.code, ending.reason] += 1
        if took_s <= LATE_S and problem is not None:
            self._violated(case, problem)
        return took_s

    def _violated(self, case: AnyCase, problem: str) -> None:
        credentials = f" (credentials: {case.credentials})" if case.credentials else ""
        self.violations.append(
            f"request {case.index}, {case.method}, {case.kind}{credentials} {problem}; "
            f"{len(case.body)} bytes: {case.body[:HEX_SHOWN].hex()}"
        )


async def _send(channel: grpc.aio.Channel, case: Case) -> Ending:
    try:
        if case.method == "Complete":
            unary: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(SERVICE + case.method)
            answer = CompleteResponse.FromString(await unary(case.body, timeout=CALL_TIMEOUT_S, metadata=case.metadata))
            return Ending("OK", whole=bool(answer.generation_id) and len(answer.choices) == 1)
        stream: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(SERVICE + case.method)
        events = [
            event.WhichOneof("event")
            async for response in stream(case.body, timeout=CALL_TIMEOUT_S, metadata=case.metadata)
            for event in StreamResponse.FromString(response).events
        ]
        return Ending("OK", whole=events[:1] == ["opened"] and events[-1] == "finished" and events.count("finished") == 1)
    except grpc.aio.AioRpcError as error:
        return _refused(error)


async def _send_control(channel: grpc.aio.Channel, case: ControlCase) -> Ending:
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(case.path)
    try:
        answer = await call(case.body, timeout=CALL_TIMEOUT_S, metadata=case.metadata)
    except grpc.aio.AioRpcError as error:
        return _refused(error)
    return Ending("OK", whole=not any(faults(response_of(case.method).FromString(answer))))


def _refused(error: grpc.aio.AioRpcError) -> Ending:
    trailers = [(key, value if isinstance(value, bytes) else value.encode()) for key, value in error.trailing_metadata()]
    size = sum(len(key) + len(value) for key, value in trailers)
    return Ending(error.code().name, reason_of(dict(trailers)), error.details() or "", trailers=size)


async def _aftermath(router: Router, run: _Run) -> list[str]:
    """Look at what the requests left behind: a good call, the records, the log."""
    found: list[str] = []
    try:
        async with router.client() as client:
            await client.complete("Still there?", model=MODEL, timeout_s=CALL_TIMEOUT_S)
    except JunctorRpcError as error:
        found.append(f"a good call was refused at the end: {error}")
    records = await generations_by_id(router.core.store.table(CORE), router.account)
    states = Counter(record.state for record in records.values())
    # Of a late call nobody knows whether the server had answered it.
    settled = range(run.answered + 1, run.answered + len(run.late) + 2)
    if set(states) != {SlotState.SETTLED} or states[SlotState.SETTLED] not in settled:
        kept = ", ".join(f"{number} {state.value}" for state, number in states.items())
        found.append(f"{run.answered + 1} calls were answered, the records are {kept}")
    costs = sum(record.cost_nanousd or 0 for record in records.values())
    if (taken := await spent(router)) != costs:
        found.append(f"the records cost {costs}, and {taken} was taken from the credits")
    log = router.log.read_text(encoding="utf-8").splitlines()
    return found + [f"the log tells of a bug: {line}" for line in log if json.loads(line)["kind"] == "incident"]


def _part(requests: range, seed: int) -> Report:
    """Send a part of the requests, in this process."""
    with tempfile.TemporaryDirectory(prefix="junctor-fuzz-") as folder:
        return asyncio.run(fuzz(Path(folder), requests=requests, seed=seed))


def main() -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="poe fuzz-wire", description="Send fuzzed requests to a real server and judge each ending."
    )
    parser.add_argument("--requests", type=int, default=2000, help="how many to send (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="fixes every request (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="processes to do it in (default: %(default)s)")
    options = parser.parse_args()
    size = -(-options.requests // options.jobs)
    parts = [range(first, min(first + size, options.requests)) for first in range(0, options.requests, size)]
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        report = together(list(pool.map(partial(_part, seed=options.seed), parts)))
    print(*report.lines(), sep="\n")
    return 1 if report.violations or report.decodable_share < DECODABLE_LEAST else 0


if __name__ == "__main__":
    raise SystemExit(main())
