"""Tests of junctor.client against a real gRPC server whose answers are scripted."""

import asyncio
import gc
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from junctor.client import AsyncClient, Client, JunctorRpcError, complete_request
from junctor.v1.completion_pb2 import Message, Part, Role, TextPart
from junctor.v1.router_service_pb2 import StreamEvent
from junctor.v1.routing_pb2 import RoutingPreferences
from tests.support.fake_router import Failure, FakeRouter, Reply, a_stream, an_answer
from tests.support.fake_server import HANG_MAX_S
from tests.support.fresh_python import modules_after

KEY = "jk-made-up"


def text_of(events: list[StreamEvent]) -> str:
    """Join the text of the deltas."""
    return "".join(event.delta.content for event in events)


def test_importing_the_client_leaves_grpc_alone() -> None:
    """If this fails, a Lambda that imports the client's types pays for grpc at each cold start."""
    loaded = modules_after("import junctor.client")
    assert "google" in loaded
    assert not loaded & {"grpc", "httpx", "boto3"}


def test_complete_carries_prompt_key_and_deadline() -> None:
    """If this fails, a call reaches the router without what the caller gave: its words, its key or its patience."""
    with FakeRouter(Reply(answer=an_answer("Hi."))) as router, Client(router.target, KEY) as client:
        answer = client.complete("Hello", model="acme/small", timeout_s=25, max_tokens=9, temperature=0.0, stop=["END"])
    (call,) = router.calls
    spec = call.request.spec
    assert answer.choices[0].message.parts[0].text.text == "Hi."
    assert call.metadata["authorization"] == f"Bearer {KEY}"
    assert 5 < call.remaining_s < 26
    assert [(turn.role, turn.parts[0].text.text) for turn in spec.messages] == [(Role.ROLE_USER, "Hello")]
    assert (spec.model, spec.max_tokens, list(spec.stop.sequences)) == ("acme/small", 9, ["END"])
    assert spec.HasField("temperature")
    assert not spec.HasField("top_p")


def test_stream_hands_on_every_event_in_order() -> None:
    """If this fails, a reader of a stream sees words lost, doubled or out of order."""
    with FakeRouter(Reply(batches=a_stream("Hel", "lo"))) as router, Client(router.target, KEY) as client:
        events = list(client.stream("Hello", model="acme/small"))
    assert [event.WhichOneof("event") for event in events] == ["opened", "delta", "delta", "finished"]
    assert text_of(events) == "Hello"
    assert router.calls[0].request.spec.model == "acme/small"


def test_error_details_become_one_typed_error() -> None:
    """If this fails, a caller cannot tell what to mend or when to try again."""
    failure = Failure(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "RATE_LIMITED",
        "Too many requests.",
        {"limit": "60"},
        retry_after_s=2.5,
        violations=(("spec.model", "is empty"), ("spec.n", "is nought")),
    )
    replies = [Reply(failure=failure), Reply(batches=a_stream("Hi")[:1], failure=failure)]
    with FakeRouter(*replies) as router, Client(router.target, KEY) as client:
        with pytest.raises(JunctorRpcError) as of_complete:
            client.complete("Hello", model="acme/small")
        with pytest.raises(JunctorRpcError) as of_stream:
            list(client.stream("Hello", model="acme/small"))
    for error in (of_complete.value, of_stream.value):
        assert (error.code, error.reason, error.message) == ("RESOURCE_EXHAUSTED", "RATE_LIMITED", "Too many requests.")
        assert error.metadata == {"limit": "60"}
        assert error.retry_after_s == 2.5
        assert error.field_violations == (("spec.model", "is empty"), ("spec.n", "is nought"))
        assert str(error) == "RATE_LIMITED: Too many requests."


@pytest.mark.parametrize("domain", ["junctor", "elsewhere"])
def test_only_junctors_own_reason_is_believed(domain: str) -> None:
    """If this fails, a proxy's error is taken for the router's promise, such as that nothing was charged."""
    failure = Failure(grpc.StatusCode.UNAVAILABLE, "OVERLOADED", domain=domain)
    with (
        FakeRouter(Reply(failure=failure)) as router,
        Client(router.target, KEY) as client,
        pytest.raises(JunctorRpcError) as caught,
    ):
        client.complete("Hello", model="acme/small")
    assert caught.value.reason == ("OVERLOADED" if domain == "junctor" else "UNAVAILABLE")


def test_a_stream_without_its_end_is_an_error() -> None:
    """If this fails, half an answer is taken for a whole one."""
    got: list[StreamEvent] = []
    with FakeRouter(Reply(batches=a_stream("Hel", finished=False))) as router, Client(router.target, KEY) as client:
        events = client.stream("Hello", model="acme/small")
        with pytest.raises(JunctorRpcError) as caught:
            got.extend(events)
        assert list(events) == []
    assert caught.value.reason == "STREAM_TRUNCATED"
    assert caught.value.metadata == {"generation_id": "gen-1"}
    assert text_of(got) == "Hel"


def test_leaving_a_stream_cancels_the_call() -> None:
    """If this fails, tokens are made and charged that nobody reads."""
    hanging = Reply(batches=a_stream("Hel", finished=False), hang=True)
    with FakeRouter(hanging, hanging, hanging) as router, Client(router.target, KEY) as client:
        for event in client.stream("Hello", model="acme/small"):
            if event.HasField("delta"):
                break
        gc.collect()
        with client.stream("Hello", model="acme/small") as events:
            next(events)
        assert list(events) == []
        closed = client.stream("Hello", model="acme/small")
        next(closed)
        closed.close()
        assert all(call.left.wait(HANG_MAX_S / 3) for call in router.calls)
        assert len(router.calls) == 3


def test_a_deadline_that_passes_is_a_typed_error() -> None:
    """If this fails, a caller waits for ever or meets an error of grpc's own."""
    with FakeRouter(Reply(hang=True), Reply(hang=True)) as router, Client(router.target, KEY) as client:
        with pytest.raises(JunctorRpcError) as of_complete:
            client.complete("Hello", model="acme/small", timeout_s=0.2)
        with pytest.raises(JunctorRpcError) as of_stream:
            list(client.stream("Hello", model="acme/small", timeout_s=0.2))
    assert of_complete.value.reason == of_stream.value.reason == "DEADLINE_EXCEEDED"


def test_nothing_listening_is_a_typed_error() -> None:
    """If this fails, a stopped router looks like a bug of the caller's."""
    with FakeRouter() as router:
        target = router.target
    with Client(target, KEY) as client, pytest.raises(JunctorRpcError) as caught:
        client.complete("Hello", model="acme/small", timeout_s=20)
    assert (caught.value.code, caught.value.reason) == ("UNAVAILABLE", "UNAVAILABLE")


def test_a_closed_client_says_so() -> None:
    """If this fails, using a client after its end gives an error that names grpc and not the mistake."""
    client = Client("127.0.0.1:1", KEY)
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.complete("Hello", model="acme/small")
    with pytest.raises(RuntimeError, match="closed"):
        client.stream("Hello", model="acme/small")


async def test_async_complete_and_stream() -> None:
    """If this fails, services on asyncio cannot use Junctor."""
    replies = [Reply(answer=an_answer("Hi.")), Reply(batches=a_stream("Hel", "lo"))]
    with FakeRouter(*replies) as router:
        async with AsyncClient(router.target, KEY) as client:
            answer = await client.complete("Hello", model="acme/small", timeout_s=25)
            events = [event async for event in client.stream("Hello", model="acme/small")]
    assert answer.choices[0].message.parts[0].text.text == "Hi."
    assert text_of(events) == "Hello"
    assert [call.metadata["authorization"] for call in router.calls] == [f"Bearer {KEY}"] * 2


async def test_async_errors_are_typed() -> None:
    """If this fails, code on asyncio meets an error of grpc's own."""
    failure = Failure(grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND", metadata={"near": "acme/small"})
    cut = Reply(batches=a_stream("Hel", finished=False))
    with FakeRouter(Reply(failure=failure), Reply(failure=failure), cut) as router:
        async with AsyncClient(router.target, KEY) as client:
            with pytest.raises(JunctorRpcError) as of_complete:
                await client.complete("Hello", model="acme/smal")
            with pytest.raises(JunctorRpcError) as of_stream:
                [event async for event in client.stream("Hello", model="acme/smal")]
            with pytest.raises(JunctorRpcError) as of_cut:
                [event async for event in client.stream("Hello", model="acme/small")]
        with pytest.raises(RuntimeError, match="closed"):
            await client.complete("Hello", model="acme/small")
    assert of_complete.value.reason == of_stream.value.reason == "MODEL_NOT_FOUND"
    assert of_complete.value.metadata == {"near": "acme/small"}
    assert of_cut.value.reason == "STREAM_TRUNCATED"


async def test_cancelling_a_task_cancels_its_call() -> None:
    """If this fails, work that its caller gave up goes on and is charged."""
    hanging = Reply(batches=a_stream("Hel", finished=False), hang=True)
    with FakeRouter(Reply(hang=True), hanging, hanging, hanging) as router:
        async with AsyncClient(router.target, KEY) as client:
            waiting = asyncio.create_task(client.complete("Hello", model="acme/small"))
            await until(lambda: len(router.calls) == 1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

            async def read() -> None:
                async for _ in client.stream("Hello", model="acme/small"):
                    pass

            reading = asyncio.create_task(read())
            await until(lambda: len(router.calls) == 2)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            async with client.stream("Hello", model="acme/small") as events:
                await anext(events)
            async for _ in client.stream("Hello", model="acme/small"):
                break
            gc.collect()
            await until(lambda: len(router.calls) == 4 and all(call.left.is_set() for call in router.calls))


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds, for a bounded time."""
    async with asyncio.timeout(HANG_MAX_S / 3):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in the server's threads
            await asyncio.sleep(0.01)


def test_a_conversation_may_be_mappings_or_messages() -> None:
    """If this fails, a conversation reaches the model with its speakers or its words mixed up."""
    turn = Message(role=Role.ROLE_ASSISTANT, parts=[Part(text=TextPart(text="Yes?"))])
    request = complete_request(
        [
            {"role": "system", "content": "Be brief."},
            turn,
            {"role": "tool", "content": [Part(text=TextPart(text="42"))], "tool_call_id": "call-1"},
        ],
        model="acme/small",
        preferences=RoutingPreferences(order=["acme"]),
        request_id="7f0c2a52-8f0e-4f5f-9e55-6f4f0a3f1c11",
        user=None,
    )
    roles = [message.role for message in request.spec.messages]
    assert roles == [Role.ROLE_SYSTEM, Role.ROLE_ASSISTANT, Role.ROLE_TOOL]
    assert [message.parts[0].text.text for message in request.spec.messages] == ["Be brief.", "Yes?", "42"]
    assert request.spec.messages[2].tool_call_id == "call-1"
    assert list(request.preferences.order) == ["acme"]
    assert request.request_id.startswith("7f0c")
    assert not request.spec.HasField("user")


@pytest.mark.parametrize(
    ("turn", "complaint"),
    [
        ({"role": "robot", "content": "Hi"}, "robot"),
        ({"content": "Hi"}, "role"),
        ({"role": "user", "content": 5}, "content"),
        ({"role": "user", "content": "Hi", "contents": "Hi"}, "contents"),
    ],
)
def test_a_turn_that_cannot_be_sent_is_refused(turn: dict[str, object], complaint: str) -> None:
    """If this fails, a slip in a message is left out silently and the model answers something else."""
    with pytest.raises((TypeError, ValueError), match=complaint):
        complete_request([turn], model="acme/small")


def test_fields_that_cannot_be_sent_are_refused() -> None:
    """If this fails, a misspelt parameter is ignored, or a name is taken for a list of letters."""
    with pytest.raises(ValueError, match="temprature"):
        complete_request("Hello", model="acme/small", temprature=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="models"):
        complete_request("Hello", model="acme/small", models="acme/large")


def test_the_key_is_found_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, calls go out with the wrong key, or a bad one breaks out of its header or into a message."""
    file = tmp_path / "key"
    file.write_text("jk-from-file\n", encoding="utf-8")
    monkeypatch.setenv("JUNCTOR_API_KEY", "jk-from-environment")
    replies = [Reply(answer=an_answer())] * 3
    with FakeRouter(*replies) as router:
        for client in (
            Client(router.target),
            Client(router.target, key_file=file),
            Client(router.target, "jk-given", key_file=file),
        ):
            with client:
                client.complete("Hello", model="acme/small")
    sent = [call.metadata["authorization"] for call in router.calls]
    assert sent == ["Bearer jk-from-environment", "Bearer jk-from-file", "Bearer jk-given"]
    with pytest.raises(ValueError, match="characters") as caught:
        Client("127.0.0.1:1", "jk-secret\nx-admin: 1")
    assert "secret" not in str(caught.value)
    monkeypatch.delenv("JUNCTOR_API_KEY")
    with pytest.raises(ValueError, match="JUNCTOR_API_KEY"):
        Client("127.0.0.1:1")
