"""What does a server keep of requests that are never whole? `python -m tests.fault.slow_senders`.

grpc gathers a request until it is whole, and tells nobody how long it is. A hostile peer opens as many streams as it may and
sends on each all but the last byte of the longest request: without a key, with keys of nobody, with a valid one, and to the
health service, which asks for none. Streams that the server ends are opened anew, as many a second as
there may be. Three processes: a whole router,
its honest caller of another account, and the peer. Told are the server's memory before and at its most, and the honest calls'
median and 99th percentile before and during. The peer sends at a fixed rate, as it is memory that is looked for, not load.
"""

import argparse
import asyncio
import math
import multiprocessing
import secrets
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import grpc
from msgspec import Struct

from junctor.bootstrap.native import run
from junctor.client import complete_request
from junctor.policy import api_keys
from junctor.v1.router_service_pb2 import CompleteRequest, CompleteResponse
from tests.fault.rapid_resets import Seen, resident_mib
from tests.support.harness import credit
from tests.support.http2 import ACK, DATA, END_STREAM, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE, Peer, frame, opening
from tests.support.pipeline import MODEL, SERVICE, bearer, one_endpoint
from tests.support.scripted_upstream import chat_answer

COMPLETE, HEALTH = f"/{SERVICE}/Complete", "/grpc.health.v1.Health/Check"
SETTINGS_INITIAL_WINDOW, WINDOW_AT_FIRST, FRAME_BYTES = 4, 65_535, 16_384
TICK_S, ANEW_S, LOOK_S = 0.02, 1.0, 0.1
CALLERS, CALM_S = 8, 2.0
SLACK_S, SLACK_MIB = 2.0, 160
"""What the server may keep beside its bound: what is sent in so many seconds (a request is counted when it is late), and what
streams and windows take, and the requests about health."""


class Crawler(Peer):
    """A peer that keeps so many calls open, and sends of each all but the last byte, as far as the server's windows let it.

    `call` returns a call's path and its fields.
    """

    def __init__(self, port: int, call: Callable[[], tuple[str, dict[str, str]]], size: int) -> None:
        super().__init__(port)
        self._call = call
        self._size = size
        self._window = self._at_first = WINDOW_AT_FIRST
        self._windows: dict[int, int] = {}
        self._unsent: dict[int, int] = {}
        self.told: Counter[str] = Counter()

    async def crawl(self, streams: int, bytes_per_s: float, for_s: float) -> None:
        """Send at such a rate for so long. Raises ConnectionError."""
        listening = asyncio.create_task(self._listen())
        until, at_once, allowed = time.monotonic() + for_s, math.ceil(streams * TICK_S / ANEW_S), 0.0
        try:
            while time.monotonic() < until:
                await self._open(min(at_once, streams - len(self._windows)))
                allowed = min(allowed + bytes_per_s * TICK_S, bytes_per_s)
                allowed -= await self._send_some(allowed)
                await asyncio.sleep(TICK_S)
        finally:
            listening.cancel()
            await asyncio.wait({listening})

    async def _open(self, number: int) -> None:
        for _ in range(number):
            stream = self.next_stream()
            self._windows[stream], self._unsent[stream] = self._at_first, self._size + 4
            path, fields = self._call()
            await self.send(opening(stream, path, *fields.items()))
            self.told["opened"] += 1

    async def _send_some(self, most: float) -> int:
        """Send a frame of each stream in turn, so many bytes at most; return how many it were."""
        sent, moved = 0, True
        while moved and sent < most:
            moved = False
            for stream in tuple(self._unsent):
                length = min(self._windows.get(stream, 0), self._window, self._unsent.get(stream, 0), FRAME_BYTES)
                if length < 5 or sent >= most:
                    continue
                head = struct.pack(">BI", 0, self._size) if self._unsent[stream] == self._size + 4 else b""
                moved, sent = True, sent + length
                self._windows[stream] -= length
                self._unsent[stream] -= length
                self._window -= length
                await self.send(frame(DATA, 0, stream, head.ljust(length, b"x")))
        self.told["bytes sent"] += sent
        return sent

    async def _listen(self) -> None:
        with suppress(ConnectionError):
            while frames := await self.frames():
                for each in frames:
                    self._hear(each.kind, each.flags, each.stream, each.payload)
        self.told["connections closed"] += 1

    def _hear(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        match kind:
            case _ if kind == SETTINGS and not flags & ACK:
                for place in range(0, len(payload), 6):
                    name, value = struct.unpack(">HI", payload[place : place + 6])
                    if name == SETTINGS_INITIAL_WINDOW:
                        self._windows = {each: window + value - self._at_first for each, window in self._windows.items()}
                        self._at_first = value
            case _ if kind == PING and not flags & ACK:
                self.writer.write(frame(PING, ACK, 0, payload))
            case _ if kind == WINDOW_UPDATE and stream == 0:
                self._window += int.from_bytes(payload, "big")
            case _ if kind == WINDOW_UPDATE and stream in self._windows:
                self._windows[stream] += int.from_bytes(payload, "big")
            case _ if kind == RST_STREAM or (kind == HEADERS and flags & END_STREAM):
                self.told["ended by the server"] += self._windows.pop(stream, None) is not None
                self._unsent.pop(stream, None)
            case _:
                pass


class Attack(Struct, frozen=True):
    """What the peer does: `key` is what is shown as a key, "" for none, "nobody" for another unknown one each time."""

    name: str
    path: str
    key: str


def _crawl(port: int, attack: Attack, chosen: "Chosen", told: "Queue[Counter[str]]") -> None:
    def call() -> tuple[str, dict[str, str]]:
        nobody = api_keys.mint(secrets.token_bytes(api_keys.LOOKUP_BYTES), secrets.token_bytes(api_keys.SECRET_BYTES))
        key = nobody if attack.key == "nobody" else attack.key
        return attack.path, {"authorization": f"Bearer {key}"} if key else {}

    async def main() -> Counter[str]:
        crawlers = [Crawler(port, call, chosen.message_mib << 20) for _ in range(chosen.connections)]
        share = (chosen.mib_per_s << 20) / chosen.connections

        async def one(crawler: Crawler) -> None:
            with suppress(ConnectionError):
                async with crawler:
                    await crawler.crawl(chosen.streams, share, chosen.seconds)

        await asyncio.gather(*map(one, crawlers))
        total = sum((crawler.told for crawler in crawlers), Counter[str]())
        total["MiB sent"] = total.pop("bytes sent", 0) >> 20
        return total

    told.put(asyncio.run(main()))


class Chosen(Struct, frozen=True):
    """The sizes of a run, the server's bound for requests with them."""

    connections: int
    streams: int
    message_mib: int
    mib_per_s: int
    seconds: float
    room_mib: int


def _serve(chosen: Chosen, said: "Queue[tuple[str, str, str]]") -> None:
    settings = {
        "JUNCTOR_REQUESTS_MAX_BYTES": f"{chosen.room_mib} MiB",
        "JUNCTOR_MESSAGE_IN_MAX_BYTES": f"{chosen.message_mib} MiB",
    }

    async def main() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with one_endpoint(Path(folder), chat_answer("Hi."), settings=settings) as (router, _):
                other = await router.core.accounts.create_organisation("other")
                await credit(router.core, other.id, 1_000 * 10**9)
                said.put((router.target, router.api_key, await router.core.accounts.create_api_key(other.id, "other")))
                await asyncio.Event().wait()

    run(main())


async def honest(target: str, api_key: str, going: Callable[[], bool]) -> Seen:
    """Call Complete again and again, a few at once on one channel, as long as it is going."""
    seen, request = Seen([], Counter()), complete_request("Hi", model=MODEL)

    async def caller(call: Callable[..., Awaitable[CompleteResponse]]) -> None:
        while going():
            begun = time.perf_counter()
            try:
                await call(request, metadata=bearer(api_key), timeout=60.0)
            except grpc.aio.AioRpcError as error:
                seen.failed[error.code().name] += 1
            else:
                seen.taken_ms.append((time.perf_counter() - begun) * 1000)

    async with grpc.aio.insecure_channel(target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        write, read = CompleteRequest.SerializeToString, CompleteResponse.FromString
        calls = [channel.unary_unary(COMPLETE, request_serializer=write, response_deserializer=read) for _ in range(CALLERS)]
        await asyncio.gather(*map(caller, calls))
    seen.taken_ms.sort()
    return seen


async def _main(chosen: Chosen, names: Iterable[str]) -> int:
    bad = 0
    for name in names:
        bad += not await _one(chosen, name)
    return bad


async def _one(chosen: Chosen, name: str) -> bool:
    """Begin a server, attack it, and tell whether it kept to its bound and no honest call failed."""
    context: Any = multiprocessing.get_context("spawn")
    said, told = context.Queue(), context.Queue()
    server = context.Process(target=_serve, args=(chosen, said))
    server.start()
    try:
        target, valid, other = await asyncio.to_thread(said.get)
        attack = {
            "no key": Attack("no key", COMPLETE, ""),
            "keys of nobody": Attack("keys of nobody", COMPLETE, "nobody"),
            "a valid key": Attack("a valid key", COMPLETE, valid),
            "health": Attack("health", HEALTH, ""),
        }[name]
        calm_until = time.monotonic() + CALM_S
        before = await honest(target, other, lambda: time.monotonic() < calm_until)
        mib_before = mib_most = resident_mib(server.pid)
        attacker = context.Process(target=_crawl, args=(int(target.rsplit(":", 1)[1]), attack, chosen, told))
        attacker.start()
        calling = asyncio.create_task(honest(target, other, attacker.is_alive))
        while not calling.done():
            mib_most = max(mib_most, resident_mib(server.pid))
            await asyncio.sleep(LOOK_S)
        during = await calling
        attacked = dict(told.get())
        attacker.join()
    finally:
        server.terminate()
        server.join()
    kept_mib, may_mib = mib_most - mib_before, int(chosen.room_mib + SLACK_S * chosen.mib_per_s + SLACK_MIB)
    print(f"{name}: {attacked}")
    print(
        f"    the server {mib_before} MiB, at most {mib_most}: {kept_mib} kept of {attacked['MiB sent']} sent (may: {may_mib})"
    )
    for when, seen in (("before", before), ("during", during)):
        shown = f"p50 {seen.percentile(0.5):6.1f} ms  p99 {seen.percentile(0.99):6.1f} ms  failed {dict(seen.failed)}"
        print(f"    honest calls {when}: {len(seen.taken_ms):6}  {shown}")
    return kept_mib <= may_mib and not during.failed


def main(words: Iterable[str]) -> int:
    """Run the command; return its exit status: how many attacks had the server keep too much, or an honest call fail."""
    names = ("no key", "keys of nobody", "a valid key", "health")
    parser = argparse.ArgumentParser(prog="python -m tests.fault.slow_senders", description="Slow senders beside honest calls.")
    parser.add_argument("attacks", nargs="*", metavar="attack", help=f"of {', '.join(names)}; all if none is named")
    parser.add_argument("--connections", type=int, default=2)
    parser.add_argument("--streams", type=int, default=250, help="streams of a connection")
    parser.add_argument("--message-mib", type=int, default=20, help="the longest request that the server takes")
    parser.add_argument("--mib-per-s", type=int, default=100, help="how fast the peer sends, over all its streams")
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--room-mib", type=int, default=256, help="the server's bound for requests")
    chosen = vars(parser.parse_args(list(words)))
    attacks = chosen.pop("attacks") or names
    return asyncio.run(_main(Chosen(**chosen), attacks))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
