"""What an error of DynamoDB means for the caller, and which calls are sent again."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    ReadTimeoutError,
)
from moto import mock_aws

from junctor.adapters.tables.dynamodb import DynamoTable
from junctor.adapters.tables.dynamodb_calls import TRIES, Calls, RefusedCall, explain
from junctor.ports.table import (
    Add,
    ConflictError,
    StoreError,
    ThrottledError,
    UnavailableError,
    UnknownOutcomeError,
    Update,
)
from tests.support.tables import KEY, SAMPLE, done, fake_credentials, item, moto_store, refused, stored
from tests.support.virtual_loop import run_virtual


def answer(code: str, status: int = 400, **more: object) -> ClientError:
    """Return an error that DynamoDB answered with."""
    response = {"Error": {"Code": code, "Message": "secret words"}, "ResponseMetadata": {"HTTPStatusCode": status}, **more}
    return ClientError(response, "PutItem")  # type: ignore[arg-type]


def cancelled(*codes: str, old: Mapping[str, object] | None = None) -> ClientError:
    """Return a cancelled transaction; the refused operations show this old item."""
    reasons = [{"Code": code, **({"Item": old} if old and code == "ConditionalCheckFailed" else {})} for code in codes]
    return answer("TransactionCanceledException", CancellationReasons=reasons)


MEANINGS: list[tuple[ClientError | BotoCoreError, type[Exception], type[Exception]]] = [
    (answer("ThrottlingException"), ThrottledError, ThrottledError),
    (answer("ProvisionedThroughputExceededException"), ThrottledError, ThrottledError),
    (answer("TransactionConflictException"), ConflictError, ConflictError),
    (answer("TransactionInProgressException"), UnknownOutcomeError, UnknownOutcomeError),
    (answer("ValidationException"), ValueError, ValueError),
    (answer("IdempotentParameterMismatchException"), ValueError, ValueError),
    (answer("AccessDeniedException"), UnavailableError, UnavailableError),
    (answer("ResourceNotFoundException"), UnavailableError, UnavailableError),
    (answer("InternalServerError", 500), UnavailableError, UnknownOutcomeError),
    (answer("ServiceUnavailable", 503), UnavailableError, UnknownOutcomeError),
    (ReadTimeoutError(endpoint_url="x"), UnavailableError, UnknownOutcomeError),
    (ConnectionClosedError(endpoint_url="x"), UnavailableError, UnknownOutcomeError),
    (EndpointConnectionError(endpoint_url="x"), UnavailableError, UnavailableError),
    (ConnectTimeoutError(endpoint_url="x"), UnavailableError, UnavailableError),
    (NoCredentialsError(), UnavailableError, UnavailableError),
    (ParamValidationError(report="secret words"), ValueError, ValueError),
    (cancelled("None", "TransactionConflict"), ConflictError, ConflictError),
    (cancelled("ConditionalCheckFailed", "TransactionConflict"), ConflictError, ConflictError),
    (cancelled("ThrottlingError", "None"), ThrottledError, ThrottledError),
    (cancelled("None", "ValidationError"), ValueError, ValueError),
    (cancelled("ValidationError", "ConditionalCheckFailed"), RefusedCall, RefusedCall),
    (cancelled(), UnavailableError, UnavailableError),
]


@pytest.mark.parametrize(("error", "reading", "writing"), MEANINGS, ids=lambda value: repr(value)[:60])
def test_an_error_means_one_thing(
    error: ClientError | BotoCoreError, reading: type[Exception], writing: type[Exception]
) -> None:
    """A write whose fate is unknown would be taken for refused and made again; or words of others would reach a caller."""
    for writes, expected in ((False, reading), (True, writing)):
        told = explain(error, writes=writes)
        assert isinstance(told, expected)
        assert "secret" not in str(told)


def test_a_refusal_names_its_place_and_shows_the_item() -> None:
    """A caller could not look for his own id in the item that was in the way."""
    old = {"pk": {"S": "P"}}
    told = explain(cancelled("None", "ConditionalCheckFailed", "ConditionalCheckFailed", old=old), writes=True)
    assert isinstance(told, RefusedCall)
    assert (told.index, told.old) == (1, old)
    told = explain(answer("ConditionalCheckFailedException", Item=old), writes=True)
    assert isinstance(told, RefusedCall)
    assert (told.index, told.old) == (0, old)
    told = explain(answer("ConditionalCheckFailedException"), writes=True)
    assert isinstance(told, RefusedCall)
    assert told.old is None


@pytest.mark.parametrize(
    ("error", "sent"),
    [
        (answer("ThrottlingException"), TRIES),
        (answer("TransactionConflictException"), TRIES),
        (EndpointConnectionError(endpoint_url="x"), TRIES),
        (ReadTimeoutError(endpoint_url="x"), 1),
        (answer("InternalServerError", 500), 1),
        (answer("AccessDeniedException"), 1),
        (answer("ValidationException"), 1),
        (NoCredentialsError(), 1),
    ],
    ids=lambda value: repr(value)[:60],
)
async def test_only_what_was_not_written_is_sent_again(error: ClientError | BotoCoreError, sent: int) -> None:
    """An addition would be made twice; or a moment's throttling would fail a generation."""
    calls = Calls(1, _NoPause())
    tries: list[object] = []

    def send(**request: object) -> None:
        tries.append(request)
        raise error

    with pytest.raises((StoreError, ValueError)):
        await calls.write(send, a=1)
    assert tries == [{"a": 1}] * sent
    await calls.close()


async def test_a_call_that_succeeds_at_last_is_answered() -> None:
    """The tries after the first would be in vain."""
    calls = Calls(1, _NoPause())
    errors = [answer("ThrottlingException") for _ in range(TRIES - 1)]

    def send() -> str:
        if errors:
            raise errors.pop()
        return "answer"

    assert await calls.write(send) == "answer"
    await calls.close()


def test_pauses_grow_to_a_bound() -> None:
    """Callers in each other's way would meet again and again, or wait for ever."""
    calls = Calls(1, _FullPause())

    async def waited(attempt: int) -> float:
        began = asyncio.get_running_loop().time()
        await calls.pause(attempt)
        return asyncio.get_running_loop().time() - began

    pauses = [run_virtual(waited(attempt)) for attempt in range(1, TRIES)]
    assert pauses == pytest.approx([0.01, 0.02, 0.04, 0.08, 0.16, 0.2, 0.2])


class _NoPause:
    def uniform(self, low: float, high: float) -> float:
        return low


class _FullPause:
    def uniform(self, low: float, high: float) -> float:
        return high


@pytest.fixture
async def table(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DynamoTable]:
    """Return the sample table over moto, whose client a test may tamper with."""
    fake_credentials(monkeypatch)
    with mock_aws():
        store = moto_store()
        await store.create([SAMPLE])
        yield store.table(SAMPLE)
        await store.close()


async def test_a_put_whose_first_try_was_applied_shows_ones_own_item(
    table: DynamoTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease would be taken for another owner's, and its money lost until it expires."""
    put = table._client.put_item

    def put_and_throttle(**request: object) -> object:
        put(**request)  # type: ignore[arg-type]
        raise answer("ThrottlingException")

    monkeypatch.setattr(table._client, "put_item", put_and_throttle)
    assert refused(await table.put_new(item(owner="me"))).old == item(owner="me")


async def test_what_a_batch_left_undone_is_sent_again(table: DynamoTable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Items that DynamoDB put off would be lost without a word."""
    write, get = table._client.batch_write_item, table._client.batch_get_item

    def write_one(RequestItems: dict[str, list[object]], **more: object) -> object:  # noqa: N803 - boto3's word
        ((name, entries),) = RequestItems.items()
        write(RequestItems={name: entries[:1]}, **more)  # type: ignore[dict-item, arg-type]
        return {"UnprocessedItems": {name: entries[1:]} if entries[1:] else {}}

    def get_one(RequestItems: dict[str, dict[str, list[object]]], **more: object) -> object:  # noqa: N803 - boto3's word
        ((name, wanted),) = RequestItems.items()
        found = get(RequestItems={name: {**wanted, "Keys": wanted["Keys"][:1]}}, **more)  # type: ignore[dict-item, arg-type]
        rest = {name: {**wanted, "Keys": wanted["Keys"][1:]}} if wanted["Keys"][1:] else {}
        return {**found, "UnprocessedKeys": rest}

    monkeypatch.setattr(table._calls, "_dice", _NoPause())
    monkeypatch.setattr(table._client, "batch_write_item", write_one)
    monkeypatch.setattr(table._client, "batch_get_item", get_one)
    items = [item(sort=str(number)) for number in range(5)]
    await table.batch_put(items)
    found = (await table.batch_get([type(KEY)("P", str(number)) for number in range(5)])).items
    assert sorted(map(repr, found)) == sorted(map(repr, items))


async def test_a_batch_that_never_gets_on_gives_up(table: DynamoTable, monkeypatch: pytest.MonkeyPatch) -> None:
    """A throttled table would hold its callers for ever; or half a batch would be called nothing."""
    write = table._client.batch_write_item
    progress = [0]

    def write_nothing(RequestItems: dict[str, list[object]], **more: object) -> object:  # noqa: N803 - boto3's word
        ((name, entries),) = RequestItems.items()
        done_now, rest = entries[: progress[0]], entries[progress[0] :]
        progress[0] = 0
        if done_now:
            write(RequestItems={name: done_now}, **more)  # type: ignore[dict-item, arg-type]
        return {"UnprocessedItems": {name: rest}}

    monkeypatch.setattr(table._calls, "_dice", _NoPause())
    monkeypatch.setattr(table._client, "batch_write_item", write_nothing)
    with pytest.raises(ThrottledError):
        await table.batch_put([item()])
    progress[0] = 1
    with pytest.raises(UnknownOutcomeError):
        await table.batch_put([item(), item(sort="other")])


async def test_a_transaction_carries_its_token(table: DynamoTable, monkeypatch: pytest.MonkeyPatch) -> None:
    """DynamoDB could not tell a repeated transaction, or would refuse a token that is too long."""
    tokens: list[str] = []
    transact = table._client.transact_write_items

    def note(ClientRequestToken: str, **more: object) -> object:  # noqa: N803 - boto3's word
        tokens.append(ClientRequestToken)
        return transact(ClientRequestToken=ClientRequestToken, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(table._client, "transact_write_items", note)
    for token in ("short", "l" * 37, "l" * 38, "é"):
        done(await table.transact([Update(KEY, (), (Add("count", 1),))], token))
    assert len(set(tokens)) == 4
    assert all(len(token) <= 36 and token.isascii() for token in tokens)
    assert await stored(table) == item(count=4)


def test_a_store_without_botocores_own_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library would silently send an addition again whose first try was applied."""
    fake_credentials(monkeypatch)
    with mock_aws():
        store = moto_store()
        assert store.client.meta.config.retries == {  # type: ignore[attr-defined]  # set when it is made
            "total_max_attempts": 1,
            "mode": "standard",
        }
        asyncio.run(store.close())
