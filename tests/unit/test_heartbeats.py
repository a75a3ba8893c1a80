"""Signs of life on a silent stream: after each silence, never in the middle of an answer, and none when it is over."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from junctor.doors.codec import answers
from junctor.doors.rpc.heartbeats import Heartbeats
from junctor.v1.completion_pb2 import Delta
from junctor.v1.router_service_pb2 import StreamEvent, StreamResponse
from tests.support.virtual_loop import run_virtual

INTERVAL_S = 15.0
BEAT = answers.heartbeat()


def message(text: str) -> StreamResponse:
    """Return a piece of an answer."""
    return StreamResponse(events=[StreamEvent(delta=Delta(content=text))])


class Line:
    """A way out that takes its time, fails if it is used twice at once, and notes what went out when."""

    def __init__(self, takes_s: float = 0.0) -> None:
        self.takes_s = takes_s
        self.sent: list[tuple[float, StreamResponse]] = []
        self.broken = False
        self._busy = False

    async def __call__(self, written: StreamResponse) -> None:
        """Send."""
        assert not self._busy
        self._busy = True
        try:
            await asyncio.sleep(self.takes_s)
        finally:
            self._busy = False
        if self.broken:
            raise ConnectionError
        self.sent.append((round(asyncio.get_running_loop().time(), 3), written))

    def beats(self) -> list[float]:
        """Return when there were heartbeats."""
        return [when for when, written in self.sent if written == BEAT]


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """Play a scenario; nothing may be left running."""

    async def main() -> None:
        await scenario()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(main())


def test_each_silence_has_its_beat() -> None:
    """A balancer would cut a model that thinks for a minute."""

    async def scenario() -> None:
        line = Line()
        async with Heartbeats(line, INTERVAL_S) as out:
            await asyncio.sleep(50)
            await out.send(message("a"))
            await asyncio.sleep(14.9)
            await out.send(message("b"))
            await asyncio.sleep(20)
        assert line.beats() == [15, 30, 45, 79.9]
        await asyncio.sleep(100)
        assert len(line.sent) == 6

    run(scenario)


def test_a_stream_that_flows_has_none() -> None:
    """Every stream would carry messages that say nothing."""

    async def scenario() -> None:
        line = Line()
        async with Heartbeats(line, INTERVAL_S) as out:
            for number in range(100):
                await out.send(message(str(number)))
                await asyncio.sleep(10)
        assert line.beats() == []
        assert [written for _, written in line.sent] == [message(str(number)) for number in range(100)]

    run(scenario)


def test_a_stream_that_flows_has_no_task_of_its_own() -> None:
    """Every stream would pay for what only a silent one needs."""

    async def scenario() -> None:
        async with Heartbeats(Line(), INTERVAL_S) as out:
            await asyncio.sleep(INTERVAL_S - 1)
            await out.send(message("a"))
            await asyncio.sleep(INTERVAL_S - 1)
            assert asyncio.all_tasks() == {asyncio.current_task()}
            await asyncio.sleep(2)
            assert len(asyncio.all_tasks()) == 1  # the beat was written at once
        handles = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
        assert all(handle.cancelled() for handle in handles)

    run(scenario)


def test_a_silence_begins_when_an_answer_is_written() -> None:
    """A beat would come too early after an answer that took long to write, or never again."""

    async def scenario() -> None:
        line = Line(takes_s=20.0)
        async with Heartbeats(line, INTERVAL_S) as out:
            await out.send(message("a"))
            line.takes_s = 0.0
            await asyncio.sleep(16)
        assert line.sent == [(20, message("a")), (35, BEAT)]

    run(scenario)


def test_beats_and_answers_do_not_cross() -> None:
    """Two messages written at once would break the stream."""

    async def scenario() -> None:
        line = Line(takes_s=4.0)
        async with Heartbeats(line, INTERVAL_S) as out:
            await asyncio.sleep(16)  # a beat is on its way
            await out.send(message("a"))
        assert line.sent == [(19, BEAT), (23, message("a"))]

    run(scenario)


def test_there_is_no_beat_right_after_an_answer() -> None:
    """A slow reader would get a sign of life after each piece that he has hardly read."""

    async def scenario() -> None:
        line = Line(takes_s=40.0)
        async with Heartbeats(line, INTERVAL_S) as out:
            await out.send(message("a"))
            await asyncio.sleep(14)
        assert line.beats() == []

    run(scenario)


def test_the_end_waits_for_a_beat_that_is_being_written() -> None:
    """The status would be written into the middle of a message."""

    async def scenario() -> None:
        line = Line(takes_s=4.0)
        async with Heartbeats(line, INTERVAL_S):
            await asyncio.sleep(16)
        assert line.sent == [(19, BEAT)]

    run(scenario)


def test_a_cut_does_not_wait_for_a_beat() -> None:
    """A call that is cut because its reader takes nothing would wait for him all the same."""

    async def scenario() -> None:
        line = Line(takes_s=1000.0)

        async def answer() -> None:
            async with Heartbeats(line, INTERVAL_S):
                await asyncio.Event().wait()

        answering = asyncio.create_task(answer())
        await asyncio.sleep(16)  # a beat is on its way
        answering.cancel()
        await asyncio.wait({answering})
        assert answering.cancelled()
        assert asyncio.get_running_loop().time() == 16

    run(scenario)


def test_a_cut_at_the_end_does_not_wait_for_a_beat() -> None:
    """A stream that has ended would hold its room for as long as nobody reads its last sign of life."""

    async def scenario() -> None:
        line = Line(takes_s=1000.0)

        async def answer() -> None:
            async with Heartbeats(line, INTERVAL_S):
                await asyncio.sleep(16)

        answering = asyncio.create_task(answer())
        await asyncio.sleep(20)
        answering.cancel()
        await asyncio.wait({answering})
        await asyncio.sleep(0)
        assert asyncio.get_running_loop().time() == 20

    run(scenario)


@pytest.mark.parametrize("by_answer", [True, False])
def test_a_line_that_breaks_ends_the_beats(by_answer: bool) -> None:
    """A stream to nobody would go on beating."""

    async def scenario() -> None:
        line = Line()
        line.broken = True

        async def answer() -> None:
            async with Heartbeats(line, INTERVAL_S) as out:
                await asyncio.sleep(0 if by_answer else 40)
                await out.send(message("a"))

        with pytest.raises(ConnectionError):
            await answer()
        assert line.sent == []

    run(scenario)


def test_an_error_inside_goes_through() -> None:
    """A failed stream would end as a good one."""

    async def scenario() -> None:
        with pytest.raises(LookupError):
            async with Heartbeats(Line(), INTERVAL_S):
                raise LookupError

    run(scenario)


def test_a_beat_that_cannot_be_written_is_the_last() -> None:
    """A stream to nobody would go on beating, and each beat leave an error in the log."""

    async def scenario() -> None:
        line = Line()
        tries = 0

        async def write(written: StreamResponse) -> None:
            nonlocal tries
            tries += 1
            await line(written)

        async with Heartbeats(write, INTERVAL_S):
            line.broken = True
            await asyncio.sleep(100)
        assert tries == 1

    run(scenario)


def test_an_answer_that_waits_for_a_beat_can_be_cut() -> None:
    """A call whose reader takes nothing would be cut in vain, or its answer be written after its end."""

    async def scenario() -> None:
        line = Line(takes_s=1000.0)

        async def answer() -> None:
            async with Heartbeats(line, INTERVAL_S) as out:
                await asyncio.sleep(16)  # a beat is on its way
                await out.send(message("a"))

        answering = asyncio.create_task(answer())
        await asyncio.sleep(18)
        answering.cancel()
        await asyncio.wait({answering})
        assert answering.cancelled()
        await asyncio.sleep(0)
        assert asyncio.get_running_loop().time() == 18
        assert line.sent == []

    run(scenario)
