"""How long an exchange with DynamoDB may take, and which ones may take longer."""

import asyncio
import socket
from collections.abc import Callable
from typing import TypeVar

import pytest

from junctor.adapters.net.face import Limits
from junctor.adapters.net.line import Target
from junctor.adapters.system.ambient import SystemClock
from junctor.adapters.tables.dynamodb_http import Reply
from junctor.adapters.tables.dynamodb_pool import SLOWNESS, Pool
from junctor.adapters.tables.dynamodb_sender import NeverSentError, UnansweredError
from junctor.adapters.tables.dynamodb_signed import Patience, SignedSender
from tests.support.tables import fake_credentials
from tests.support.virtual_loop import run_virtual

P = TypeVar("P", bound=asyncio.BaseProtocol)
TARGET = Target("127.0.0.1", 1, None)


class _Mute(asyncio.Transport):
    """Takes all, and answers nothing."""

    def __init__(self, protocol: asyncio.BaseProtocol, end: socket.socket) -> None:
        super().__init__({"socket": end})
        self._protocol = protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take a request."""

    def is_closing(self) -> bool:
        """Stay open."""
        return False

    def abort(self) -> None:
        """End."""
        if isinstance(self._protocol, asyncio.Protocol):
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)


def test_a_slow_exchange_has_more_time_and_keeps_no_quick_one() -> None:
    """A transaction that DynamoDB is about to do would be of unknown fate; or a read would wait as long as one."""
    one, other = socket.socketpair()

    async def dial(_target: Target, make: Callable[[], P]) -> P:
        protocol = make()
        protocol.connection_made(_Mute(protocol, one))
        return protocol

    async def given_up(pool: Pool, *, slow: bool) -> float:
        with pytest.raises(UnansweredError):
            await pool.ask(TARGET, b"", slow=slow)
        return asyncio.get_running_loop().time()

    async def main() -> list[float]:
        patience = Patience()
        pool = Pool(Limits(), connect_s=patience.connect_s, answer_s=patience.answer_s)
        pool._dialer = dial  # type: ignore[assignment] # nothing is dialled
        return await asyncio.gather(*(given_up(pool, slow=slow) for slow in (True, False, True, False)))

    with one, other:
        ended = run_virtual(main())
    assert ended == pytest.approx([SLOWNESS, 1.0, SLOWNESS, 1.0], abs=0.01)


async def test_what_is_not_done_in_one_go_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease would be in doubt whenever DynamoDB takes its time for a transaction."""
    fake_credentials(monkeypatch)
    sender = SignedSender(endpoint_url="http://127.0.0.1:1", region="us-east-1", clock=SystemClock())
    asked: list[bool] = []

    async def ask(_target: Target, _request: bytes, *, slow: bool = False) -> Reply:
        asked.append(slow)
        raise NeverSentError("our words")

    monkeypatch.setattr(sender._pool, "ask", ask)
    quick = ("GetItem", "PutItem", "UpdateItem", "DeleteItem", "Query")
    for operation in (*quick, "TransactWriteItems", "BatchGetItem", "BatchWriteItem", "CreateTable"):
        with pytest.raises(NeverSentError):
            await sender.send(operation, {})
    assert asked == [False] * 5 + [True] * 4
    await sender.close()
