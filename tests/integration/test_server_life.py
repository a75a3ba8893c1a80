"""The native server from listening to its end: health, reflection, heartbeats, draining, many calls at once."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from junctor.adapters.tables.sqlite import SqliteStore
from junctor.bootstrap import native
from junctor.bootstrap.stop import Stop
from junctor.client import AsyncEventStream, complete_request, stream_request
from junctor.domain.lease import LeaseState, SlotState
from junctor.doors import grpc_server
from junctor.doors.addresses import AddressError
from junctor.doors.grpc_server import GrpcServer
from junctor.doors.rpc.gate import RETRY_LEAST_S, RETRY_MOST_S
from junctor.records import keys, leases
from junctor.records.tables import ALL_TABLES, CORE
from junctor.settings import Settings
from junctor.v1.router_service_pb2 import CompleteRequest, CompleteResponse, StreamRequest, StreamResponse
from tests.support.harness import Router
from tests.support.pipeline import (
    MODEL,
    PATIENCE_S,
    SERVICE,
    bearer,
    ended,
    events_of,
    kinds,
    log_lines,
    one_endpoint,
    raw_channel,
    refusal,
    slots,
    text_of,
    until,
)
from tests.support.scripted_upstream import (
    DONE,
    STREAM_HEAD,
    Request,
    Send,
    Step,
    Until,
    Wait,
    WaitClosed,
    chat_answer,
    chat_chunk,
    chat_stream,
    chunk,
    usage_json,
)

BEGUN: list[Step] = [Send(STREAM_HEAD + chunk(chat_chunk({"content": "x" * 40})))]
ENDS: list[Step] = [Send(chunk(chat_chunk(finish="stop") + chat_chunk(usage=usage_json(7, 3)) + DONE) + chunk(b""))]


@asynccontextmanager
async def _second_server(router: Router, port: int = 0, **settings: str) -> AsyncGenerator[tuple[Router, GrpcServer], None]:
    """Run another server on a router's core, for the test to drain."""
    environ = {f"JUNCTOR_{name.upper()}": value for name, value in settings.items()}
    server = native.server(router.core, Settings.from_environment({"JUNCTOR_LISTEN": f"127.0.0.1:{port}", **environ}))
    try:
        yield replace(router, target=f"127.0.0.1:{await server.start()}"), server
    finally:
        await server.drain(0)


async def _health(router: Router, service: str = "") -> str:
    async with raw_channel(router) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )
        answer = await check(HealthCheckRequest(service=service), timeout=PATIENCE_S)
    return HealthCheckResponse.ServingStatus.Name(answer.status)


async def test_health(tmp_path: Path) -> None:
    """Else a balancer sends nobody to a server that is well."""
    async with one_endpoint(tmp_path, chat_answer("Hi.")) as (router, _):
        assert await _health(router) == "SERVING"
        assert await _health(router, SERVICE) == "SERVING"


class _Sickness:
    """Stands for the fleet's health where the test says whether this instance is sick."""

    told: "Callable[[bool], None]"

    def __init__(self, _tools: object, _health: object, _instance: str, on_sick: "Callable[[bool], None]") -> None:
        type(self).told = staticmethod(on_sick)

    async def forever(self) -> None:
        """Do nothing."""
        await asyncio.Event().wait()


async def test_a_sick_instance_asks_for_no_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else balancers send calls to the one instance that cannot reach any provider."""
    monkeypatch.setattr(native, "FleetHealth", _Sickness)
    free = {"JUNCTOR_LISTEN": "127.0.0.1:0", "JUNCTOR_ADMIN_LISTEN": "127.0.0.1:0"}
    async with one_endpoint(tmp_path, chat_answer("Hi.")) as (router, _):
        async with native.listening(router.core, Settings.from_environment(free)) as listening:
            serving = replace(router, target=f"127.0.0.1:{listening.port}")

            async def turned(into: str) -> bool | None:
                return await _health(serving) == into or None

            for sick, status in ((True, "NOT_SERVING"), (False, "SERVING"), (True, "NOT_SERVING")):
                _Sickness.told(sick)
                await until(partial(turned, status))
            async with serving.client() as client:
                assert (await client.complete("Hi", model=MODEL)).choices
            await listening.drain(Stop(), PATIENCE_S)
        assert [line["event"] for line in log_lines(router, "event")].count("this instance is well again") == 1


async def _first_delta(stream: AsyncEventStream) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not (await anext(stream)).HasField("delta"):
            pass


async def test_drain_lets_a_running_stream_finish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else every deployment cuts the answers that are being read, or goes on taking calls that it will cut."""
    monkeypatch.setattr(grpc_server, "LAME_DUCK_S", PATIENCE_S)
    finish = asyncio.Event()
    async with one_endpoint(tmp_path, [*BEGUN, Until(finish), *ENDS]) as (router, upstream):
        async with _second_server(router) as (serving, server), serving.client() as client, raw_channel(serving) as channel:
            watch = channel.unary_stream(
                "/grpc.health.v1.Health/Watch",
                request_serializer=HealthCheckRequest.SerializeToString,
                response_deserializer=HealthCheckResponse.FromString,
            )
            watching = watch(HealthCheckRequest(service=SERVICE))
            states = [await watching.read()]
            stream = client.stream("Hi", model=MODEL)
            await _first_delta(stream)
            draining = asyncio.create_task(server.drain(2 * PATIENCE_S))
            states.append(await watching.read())
            async with serving.client() as late:
                errors = [await refusal(caller.complete("Hi", model=MODEL, timeout_s=PATIENCE_S)) for caller in (client, late)]
            assert not draining.done()
            finish.set()
            rest = await events_of(stream)
            watching.cancel()
            await asyncio.wait_for(draining, PATIENCE_S)
        (record,) = await slots(router)
        assert len(upstream.requests) == 1
    assert states == [
        HealthCheckResponse(status=HealthCheckResponse.SERVING),
        HealthCheckResponse(status=HealthCheckResponse.NOT_SERVING),
    ]
    assert [(error.code, error.reason) for error in errors] == [("UNAVAILABLE", "DRAINING")] * 2
    assert all(RETRY_LEAST_S <= (error.retry_after_s or 0) <= RETRY_MOST_S for error in errors)
    assert kinds(rest) == ["finished"]
    assert (record.state, record.output_tokens, record.estimated) == (SlotState.SETTLED, 3, False)


async def test_a_stream_goes_on_after_the_server_has_stopped_taking_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else whoever still reads when balancers have turned away loses his answer, or a new connection keeps a server alive."""
    monkeypatch.setattr(grpc_server, "LAME_DUCK_S", 0.01)
    finish = asyncio.Event()
    async with (
        one_endpoint(tmp_path, [*BEGUN, Until(finish), *ENDS]) as (router, _),
        _second_server(router) as (serving, server),
        serving.client() as client,
        serving.client() as late,
    ):
        stream = client.stream("Hi", model=MODEL)
        await _first_delta(stream)
        draining = asyncio.create_task(server.drain(2 * PATIENCE_S))

        async def told() -> str | None:
            """Return what a new caller is told, once it is no longer our own answer."""
            error = await refusal(late.complete("Hi", model=MODEL, timeout_s=PATIENCE_S))
            return None if error.reason == "DRAINING" else error.code

        assert await until(told) == "UNAVAILABLE"
        finish.set()
        assert kinds(await events_of(stream)) == ["finished"]
        await asyncio.wait_for(draining, PATIENCE_S)


async def test_drain_does_not_wait_for_a_health_watch(tmp_path: Path) -> None:
    """Else one balancer that watches the health holds every deployment for the whole grace."""
    async with (
        one_endpoint(tmp_path, chat_answer("Hi.")) as (router, _),
        _second_server(router) as (second, server),
        raw_channel(second) as channel,
    ):
        watch = channel.unary_stream(
            "/grpc.health.v1.Health/Watch",
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )(HealthCheckRequest(), timeout=10 * PATIENCE_S)
        assert await watch.read() == HealthCheckResponse(status=HealthCheckResponse.SERVING)
        await asyncio.wait_for(server.drain(9 * PATIENCE_S), PATIENCE_S)


async def test_stream_past_the_grace(tmp_path: Path) -> None:
    """Else one endless stream keeps a server from ending, or is delivered for nothing."""
    async with one_endpoint(tmp_path, [*BEGUN, WaitClosed()]) as (router, upstream):
        async with _second_server(router) as (serving, server), serving.client() as client:
            stream = client.stream("y" * 80, model=MODEL)
            await _first_delta(stream)
            await asyncio.wait_for(server.drain(0.2), PATIENCE_S)
            assert await router.core.services.ledger.drain(PATIENCE_S) == 0
            (record,) = await slots(router)
            error = await refusal(events_of(stream))
            await upstream.requests[0].gone()
        assert log_lines(router, "incident") == []
        assert log_lines(router)[-1]["status"] == "STREAM_INTERRUPTED"
    assert (record.state, record.output_tokens, record.estimated) == (SlotState.SETTLED, 10, True)
    assert (error.code, error.reason) == ("ABORTED", "STREAM_INTERRUPTED")
    assert error.metadata["generation_id"] == record.id
    assert error.metadata["delivered_tokens"] == "10"


async def test_a_call_past_the_grace_for_which_nothing_was_charged(tmp_path: Path) -> None:
    """Else its caller does not try elsewhere what cost him nothing, or pays for what he never saw."""
    async with one_endpoint(tmp_path, [WaitClosed()]) as (router, upstream):
        async with _second_server(router) as (serving, server), serving.client() as client:
            call = asyncio.create_task(refusal(client.complete("Hi", model=MODEL, timeout_s=2 * PATIENCE_S)))
            await upstream.arrived()
            await asyncio.wait_for(server.drain(0.2), PATIENCE_S)
            error = await call
            assert await router.core.services.ledger.drain(PATIENCE_S) == 0
            await upstream.requests[0].gone()
        assert (await ended(router)).state is SlotState.VOID
        assert log_lines(router)[-1]["status"] == "DRAINING"
    assert (error.code, error.reason) == ("UNAVAILABLE", "DRAINING")


async def test_asked_twice(tmp_path: Path) -> None:
    """Else a person who wants his terminal back waits for somebody's endless stream."""
    async with one_endpoint(tmp_path, [*BEGUN, WaitClosed()]) as (router, _):
        async with _second_server(router) as (serving, server), serving.client() as client:
            stream = client.stream("y" * 80, model=MODEL)
            await _first_delta(stream)
            stop = Stop()
            stop.signal()
            draining = asyncio.create_task(native.drain(server, stop, 9 * PATIENCE_S))
            await asyncio.sleep(0.1)
            assert not draining.done()
            stop.signal()
            await asyncio.wait_for(draining, PATIENCE_S)
            await refusal(events_of(stream))
        assert (await ended(router)).state is SlotState.SETTLED


async def test_ended_server_leaves_no_lease_open(tmp_path: Path) -> None:
    """Else every deployment leaves what its instances held to be reclaimed a quarter of an hour later."""
    async with one_endpoint(tmp_path, chat_answer("Hi.")) as (router, _), router.client() as client:
        await client.complete("Hi", model=MODEL)
        (record,) = await slots(router)
    store = SqliteStore(tmp_path / "store.sqlite3")
    await store.create(ALL_TABLES)
    try:
        found = await store.table(CORE).get(keys.lease(router.account, record.slot.lease))
    finally:
        await store.close()
    assert found.item is not None
    assert leases.lease_of(found.item).state is LeaseState.CLOSED


async def _reflected(router: Router) -> list[str]:
    async with raw_channel(router) as channel:
        reflect = channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            request_serializer=ServerReflectionRequest.SerializeToString,
            response_deserializer=ServerReflectionResponse.FromString,
        )
        call = reflect(iter([ServerReflectionRequest(list_services="")]), timeout=PATIENCE_S)
        answer = await anext(aiter(call))
    return [service.name for service in answer.list_services_response.service]


async def test_reflection_on(tmp_path: Path) -> None:
    """Else a developer cannot ask a server that should tell what it serves."""
    async with one_endpoint(tmp_path, chat_answer("Hi."), settings={"JUNCTOR_REFLECTION": "on"}) as (router, _):
        assert {SERVICE, "grpc.health.v1.Health"} <= set(await _reflected(router))


async def test_reflection_off(tmp_path: Path) -> None:
    """Else a server in production tells everybody what it serves."""
    async with one_endpoint(tmp_path, chat_answer("Hi.")) as (router, _):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _reflected(router)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def _event_kinds(router: Router) -> list[list[str]]:
    """Return the kinds of the events of a stream, message by message."""
    async with raw_channel(router) as channel:
        method = channel.unary_stream(
            f"/{SERVICE}/Stream",
            request_serializer=StreamRequest.SerializeToString,
            response_deserializer=StreamResponse.FromString,
        )
        call = method(stream_request("Hi", model=MODEL), metadata=bearer(router.api_key), timeout=PATIENCE_S)
        return [kinds(list(message.events)) async for message in call]


async def test_heartbeats_on_a_silent_stream(tmp_path: Path) -> None:
    """Else a balancer cuts the stream of a model that thinks, before its first word or between two."""
    silent: list[Step] = [Send(STREAM_HEAD), Wait(0.5), Send(chunk(chat_chunk({"content": "a"}))), Wait(0.5), *ENDS]
    async with one_endpoint(tmp_path, silent, settings={"JUNCTOR_HEARTBEAT_S": "0.2"}) as (router, _):
        messages = await _event_kinds(router)
    opened = messages.index(["opened", "delta"])
    before, after = messages[:opened], messages[opened + 1 : -1]
    assert messages[-1] == ["finished"]
    for silence in (before, after):
        assert set(map(tuple, silence)) == {("heartbeat",)}
        assert 1 <= len(silence) <= 20


async def test_no_heartbeat_while_events_come(tmp_path: Path) -> None:
    """Else every stream carries messages that say nothing."""
    script = chat_stream(["a"] * 20, per_chunk_delay=0.05)
    async with one_endpoint(tmp_path, script, settings={"JUNCTOR_HEARTBEAT_S": "0.9"}) as (router, _):
        messages = await _event_kinds(router)
    assert ["heartbeat"] not in messages


async def test_port_in_use(tmp_path: Path) -> None:
    """Else a second server shares the first one's port, and calls go to either by chance."""
    async with one_endpoint(tmp_path, chat_answer("Hi.")) as (router, _):
        port = int(router.target.rpartition(":")[2])
        with pytest.raises(AddressError, match=f"127.0.0.1:{port} cannot be listened on"):
            async with _second_server(router, port):
                pass
        assert await _health(router) == "SERVING"


async def test_many_calls_at_once(tmp_path: Path) -> None:
    """Else under load two answers share a record, or numbers are left out that a closer would have to seal."""
    calls = 200
    async with one_endpoint(tmp_path, chat_answer("Hi.")) as (router, upstream), raw_channel(router) as channel:
        complete = channel.unary_unary(
            f"/{SERVICE}/Complete",
            request_serializer=CompleteRequest.SerializeToString,
            response_deserializer=CompleteResponse.FromString,
        )
        request = complete_request("Hi", model=MODEL)
        answers = await asyncio.gather(
            *(complete(request, metadata=bearer(router.api_key), timeout=30.0) for _ in range(calls))
        )
        records = await slots(router)
        assert len(upstream.requests) == calls
    assert len({answer.generation_id for answer in answers}) == calls
    assert {record.id for record in records} == {answer.generation_id for answer in answers}
    assert {record.state for record in records} == {SlotState.SETTLED}
    assert len({record.slot.lease for record in records}) == 1
    assert sorted(record.slot.number for record in records) == list(range(calls))


async def test_many_streams_at_once(tmp_path: Path) -> None:
    """Else streams that run beside each other get each other's words."""

    async def one(number: int) -> None:
        text = text_of(await events_of(client.stream(f"{number}", model=MODEL)))
        assert text == f"<{number}>" * 20

    def echo(request: Request) -> Iterator[Step]:
        said = request.json["messages"][0]["content"]
        return chat_stream([f"<{said}>"] * 20, per_chunk_delay=0.005)(request)

    async with one_endpoint(tmp_path, echo) as (router, _), router.client() as client:
        await asyncio.gather(*map(one, range(40)))
        assert {record.state for record in await slots(router)} == {SlotState.SETTLED}
        assert len(await slots(router)) == 40


async def test_slot_of_a_stream_that_was_never_read(tmp_path: Path) -> None:
    """Else a caller who opens a stream and goes away before reading leaves it open."""
    async with one_endpoint(tmp_path, [*BEGUN, WaitClosed()]) as (router, upstream):
        client = router.client()
        stream = client.stream("Hi", model=MODEL)
        await upstream.arrived()
        await client.close()
        assert (await ended(router)).state in {SlotState.SETTLED, SlotState.VOID}
        await stream.aclose()
