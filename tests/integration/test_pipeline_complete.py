"""A whole answer, from a caller's gRPC call to a provider, into the ledger and back."""

from pathlib import Path

import pytest

from junctor.domain.lease import SlotState
from junctor.v1.completion_pb2 import FinishReason, Reasoning, Tool
from junctor.v1.router_service_pb2 import CompleteResponse
from tests.support.pipeline import FIRST, MODEL, line_of, one_endpoint, outcomes
from tests.support.scripted_upstream import chat_answer, chat_body, status


async def test_answer(tmp_path: Path) -> None:
    """Else a caller gets no answer, or one that does not say where it came from."""
    async with one_endpoint(tmp_path, chat_answer("Good morning.", usage=(7, 3))) as (router, upstream):
        async with router.client() as client:
            answer = await client.complete("Morning!", model=MODEL, max_tokens=50)
        assert answer.choices[0].message.parts[0].text.text == "Good morning."
        assert answer.choices[0].finish_reason == FinishReason.FINISH_REASON_STOP
        assert answer.choices[0].native_finish_reason == "stop"
        assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.estimated) == (7, 3, False)
        assert (answer.route.requested_model, answer.route.served_model, answer.route.provider) == (MODEL, MODEL, "groq")
        assert outcomes(answer.route.attempts) == [(FIRST, "SERVED")]
        assert 0 <= answer.time_to_first_token_ms <= answer.latency_ms
        (request,) = upstream.requests
        assert request.headers["authorization"] == "Bearer made-up-groq"
        assert request.json["messages"] == [{"role": "user", "content": "Morning!"}]
        assert request.json["stream"] is False


async def test_record_is_settled_when_the_answer_arrives(tmp_path: Path) -> None:
    """Else a caller who looks up the generation he was just told of finds it open, or with other numbers."""
    async with one_endpoint(tmp_path, chat_answer("Hi.", usage=(11, 5))) as (router, _), router.client() as client:
        answer = await client.complete("Hi", model=MODEL)
        record = await router.generation(answer.generation_id)
    assert record is not None
    assert record.state is SlotState.SETTLED
    assert (record.model, record.provider, record.endpoint) == (MODEL, "groq", FIRST)
    assert (record.input_tokens, record.output_tokens, record.estimated) == (11, 5, False)
    assert (record.finish_reason, record.upstream_id, record.streamed) == ("stop", "chatcmpl-1", False)
    assert record.price_version
    assert record.ended_at_ms is not None
    assert record.started_at_ms <= record.ended_at_ms <= record.deadline_at_ms


async def test_usage_is_estimated_where_none_is_reported(tmp_path: Path) -> None:
    """Else a provider that reports no usage is free, or an estimate passes for a measurement."""
    async with one_endpoint(tmp_path, chat_answer("x" * 40, usage=None)) as (router, _), router.client() as client:
        answer = await client.complete("y" * 80, model=MODEL)
        record = await router.generation(answer.generation_id)
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.estimated) == (20, 10, True)
    assert record is not None
    assert (record.input_tokens, record.output_tokens, record.estimated) == (20, 10, True)


@pytest.mark.parametrize(
    ("native", "ours"),
    [
        ("stop", FinishReason.FINISH_REASON_STOP),
        ("length", FinishReason.FINISH_REASON_LENGTH),
        ("content_filter", FinishReason.FINISH_REASON_CONTENT_FILTER),
    ],
)
async def test_finish_reason(tmp_path: Path, native: str, ours: FinishReason.ValueType) -> None:
    """Else a caller takes an answer that was cut off for a whole one."""
    async with one_endpoint(tmp_path, chat_answer("Hi", finish=native)) as (router, _), router.client() as client:
        answer = await client.complete("Hi", model=MODEL)
        record = await router.generation(answer.generation_id)
    assert (answer.choices[0].finish_reason, answer.choices[0].native_finish_reason) == (ours, native)
    assert record is not None
    assert record.finish_reason == native


async def test_parallel_tool_calls(tmp_path: Path) -> None:
    """Else an agent gets one of the calls that the model made, or arguments that a parser has rewritten."""
    calls = [
        {"id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo",  "day": 1.0}'}},
        {"id": "b", "type": "function", "function": {"name": "time", "arguments": "{}"}},
    ]
    body = chat_body({"content": None, "tool_calls": calls}, finish="tool_calls")
    async with one_endpoint(tmp_path, status(200, body)) as (router, upstream), router.client() as client:
        tools = [Tool(name="weather", parameters_json='{"type": "object",  "x": 10000000000000000000001}'), Tool(name="time")]
        answer = await client.complete("Weather and time in Oslo?", model=MODEL, tools=tools, parallel_tool_calls=True)
        sent = upstream.requests[0].body
    got = [(call.id, call.name, call.arguments_json) for call in answer.choices[0].message.tool_calls]
    assert got == [("a", "weather", '{"city": "Oslo",  "day": 1.0}'), ("b", "time", "{}")]
    assert answer.choices[0].finish_reason == FinishReason.FINISH_REASON_TOOL_CALLS
    assert b'{"type": "object",  "x": 10000000000000000000001}' in sent


async def _with_reasoning(folder: Path, *, exclude: bool) -> tuple[CompleteResponse, str]:
    body = chat_body({"content": "42", "reasoning": "Deep thought."})
    async with one_endpoint(folder, status(200, body)) as (router, _), router.client() as client:
        reasoning = Reasoning(effort="low", exclude=True) if exclude else Reasoning(effort="low")
        answer = await client.complete("?", model=MODEL, reasoning=reasoning)
    return answer, answer.choices[0].message.parts[0].text.text


async def test_reasoning(tmp_path: Path) -> None:
    """Else the thoughts of a model that was asked to think do not reach the caller."""
    answer, text = await _with_reasoning(tmp_path, exclude=False)
    assert (answer.choices[0].message.reasoning, text) == ("Deep thought.", "42")


async def test_excluded_reasoning(tmp_path: Path) -> None:
    """Else a caller who excluded reasoning shows it to people who should not see it."""
    answer, text = await _with_reasoning(tmp_path, exclude=True)
    assert not answer.choices[0].message.HasField("reasoning")
    assert text == "42"


async def test_dropped_parameters_are_reported(tmp_path: Path) -> None:
    """Else a caller believes in a parameter that the endpoint never saw."""
    async with one_endpoint(tmp_path, chat_answer("Hi")) as (router, upstream), router.client() as client:
        answer = await client.complete("Hi", model=MODEL, top_k=3, temperature=0.5)
        sent = upstream.requests[0].json
    assert [adjusted.parameter for adjusted in answer.route.adjustments] == ["top_k"]
    assert "top_k" not in sent
    assert sent["temperature"] == 0.5


async def test_log_line(tmp_path: Path) -> None:
    """Else an operator cannot find a call in the log, or finds in it what was said."""
    async with one_endpoint(tmp_path, chat_answer("canary-answer")) as (router, _), router.client() as client:
        answer = await client.complete("canary-prompt", model=MODEL)
        line = await line_of(router)
        log = router.log.read_text()
    assert (line["method"], line["status"], line["generation_id"]) == ("Complete", "OK", answer.generation_id)
    assert (line["account"], line["endpoint"]) == (router.account, FIRST)
    assert (line["input_tokens"], line["output_tokens"], line["finish_reason"]) == (5, 2, "stop")
    assert "canary" not in log
    assert "made-up" not in log
    assert router.api_key not in log
