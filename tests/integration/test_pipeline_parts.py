"""What a chat may hold besides text, and an answer besides its words, from a caller's gRPC call to a provider and back."""

import base64
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from junctor.domain.catalog import PriceCard, PriceParts
from junctor.domain.completion import CompletionSpec
from junctor.v1.completion_pb2 import AudioPart, FilePart, FinishReason, Message, Part, Prediction, Role, TextPart, Voice
from tests.support.harness import Router, running_router
from tests.support.pipeline import events_of, kinds, refusal
from tests.support.scripted_upstream import Script, ScriptedUpstream, chat_answer, chat_chunk, event, sse, status, usage_json

MODEL, ENDPOINT = "openai/gpt-4o-mini", "openai/openai/gpt-4o-mini"
CONTEXT_TOKENS = 10_000
PRICED = PriceParts(input=150_000, output=600_000, audio_input=10_000_000, audio_output=20_000_000)
TOKEN = {"token": "A", "logprob": -0.5, "bytes": [65], "top_logprobs": [{"token": "B", "logprob": -2.5, "bytes": [66]}]}
CITATION = {
    "type": "url_citation",
    "url_citation": {"url": "https://a.example", "title": "A", "start_index": 0, "end_index": 1},
}
DONE = b"data: [DONE]\n\n"


@asynccontextmanager
async def chatting(
    folder: Path, *scripts: Script, prices: PriceParts = PRICED
) -> AsyncGenerator[tuple[Router, ScriptedUpstream], None]:
    """Run a router whose MODEL has one endpoint, which understands everything, at these prices."""
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(ScriptedUpstream(*scripts))
        running = running_router(folder, {ENDPOINT: upstream.base_url}, credentials={"OPENAI_API_KEY": "made-up"})
        router = await stack.enter_async_context(running)
        catalog = router.core.catalog.current()
        (served,) = (row for row in catalog.endpoints[MODEL] if row.id == ENDPOINT)
        able = msgspec.structs.replace(
            served,
            context_tokens=CONTEXT_TOKENS,
            parameters=CompletionSpec.__struct_fields__,
            input_modalities=("text", "file", "audio"),
            output_modalities=("text", "audio"),
        )
        card = PriceCard(version="1", parts=prices, source="test", as_of="2026-01-01")
        endpoints, known = {**catalog.endpoints, MODEL: (able,)}, {**catalog.prices, ENDPOINT: (card,)}
        router.core.catalog.replace(msgspec.structs.replace(catalog, endpoints=endpoints, prices=known))
        yield router, upstream


def answer(*choices: Mapping[str, Any], **usage: Any) -> Script:
    """Answer whole with these choices, and with these details of usage beside 1,000 tokens in and 100 out."""
    numbered = [{"index": place, "finish_reason": "stop", **choice} for place, choice in enumerate(choices)]
    counts = {**usage_json(1_000, 100), **usage}
    return status(200, msgspec.json.encode({"id": "chatcmpl-1", "choices": numbered, "usage": counts}))


def said(index: int, delta: Mapping[str, Any], finish: str | None = None, **more: Any) -> bytes:
    """Return an event with one piece of one answer."""
    return event({"id": "chatcmpl-1", "choices": [{"index": index, "delta": dict(delta), "finish_reason": finish, **more}]})


async def test_several_answers(tmp_path: Path) -> None:
    """A caller who asks for three answers and pays for them would get one, or less be held than they can cost."""
    choices = [{"message": {"role": "assistant", "content": text}} for text in "abc"]
    async with chatting(tmp_path, answer(*choices)) as (router, upstream), router.client() as client:
        one = await client.explain("Say a letter.", model=MODEL, max_tokens=10)
        many = await client.explain("Say a letter.", model=MODEL, max_tokens=10, n=3)
        got = await client.complete("Say a letter.", model=MODEL, max_tokens=10, n=3)
        record = await router.generation(got.generation_id)
    assert upstream.requests[0].json["n"] == 3
    assert [(choice.index, choice.message.parts[0].text.text) for choice in got.choices] == [(0, "a"), (1, "b"), (2, "c")]
    assert not got.route.adjustments
    assert record is not None
    assert many.candidates[0].ceiling_nanousd == 3 * one.candidates[0].ceiling_nanousd == record.hold_nanousd


async def test_several_answers_of_a_stream(tmp_path: Path) -> None:
    """Two answers would be mixed into one, or one of them never be said to have ended."""
    events = [
        *(said(1, {"content": "x"}), said(0, {"content": "a"}), said(1, {"content": "y"}), said(0, {"content": "b"})),
        *(said(1, {}, "length"), said(0, {}, "stop"), chat_chunk(usage=usage_json(5, 4)), DONE),
    ]
    async with chatting(tmp_path, lambda _: sse(events)) as (router, _), router.client() as client:
        got = await events_of(client.stream("Two, please.", model=MODEL, n=2))
    texts = {place: "".join(one.delta.content for one in got if one.delta.index == place) for place in (0, 1)}
    assert texts == {0: "ab", 1: "xy"}
    assert kinds(got)[-1] == "finished"
    ends = [(end.index, end.finish_reason) for end in got[-1].finished.choices]
    assert ends == [(0, FinishReason.FINISH_REASON_STOP), (1, FinishReason.FINISH_REASON_LENGTH)]
    assert got[-1].finished.usage.output_tokens == 4


async def test_log_probabilities_refusals_and_citations(tmp_path: Path) -> None:
    """What a caller asked to know of an answer would be lost on its way."""
    message = {"role": "assistant", "content": "A", "annotations": [CITATION, {"type": "file", "file": {"n": 1}}]}
    first = {"message": message, "logprobs": {"content": [TOKEN], "refusal": None}}
    second = {"message": {"role": "assistant", "content": None, "refusal": "No."}, "logprobs": None}
    async with chatting(tmp_path, answer(first, second)) as (router, upstream), router.client() as client:
        got = await client.complete("A?", model=MODEL, logprobs=True, top_logprobs=1, n=2)
    sent = upstream.requests[0].json
    assert (sent["logprobs"], sent["top_logprobs"]) == (True, 1)
    (token,) = got.choices[0].logprobs.content
    assert (token.token, token.logprob, token.token_bytes) == ("A", -0.5, b"A")
    assert [(top.token, top.logprob) for top in token.top_logprobs] == [("B", -2.5)]
    cited, other = got.choices[0].message.annotations
    assert (cited.url_citation.url, cited.url_citation.title, cited.url_citation.end_index) == ("https://a.example", "A", 1)
    assert other.other_json == '{"type":"file","file":{"n":1}}'
    assert (got.choices[1].message.refusal, list(got.choices[1].message.parts)) == ("No.", [])
    assert not got.choices[1].HasField("logprobs")


async def test_log_probabilities_refusals_and_citations_of_a_stream(tmp_path: Path) -> None:
    """The same for who reads along."""
    events = [
        said(0, {"content": "A"}, logprobs={"content": [TOKEN], "refusal": None}),
        said(0, {"annotations": [CITATION]}),
        said(0, {"refusal": "No."}, logprobs={"content": None, "refusal": [TOKEN]}),
        *(said(0, {}, "stop"), DONE),
    ]
    async with chatting(tmp_path, lambda _: sse(events)) as (router, _), router.client() as client:
        got = await events_of(client.stream("A?", model=MODEL, logprobs=True))
    deltas = [one.delta for one in got if one.HasField("delta")]
    assert [token.token for delta in deltas for token in delta.logprobs.content] == ["A"]
    assert [token.token for delta in deltas for token in delta.logprobs.refusal] == ["A"]
    assert [cited.url_citation.url for delta in deltas for cited in delta.annotations] == ["https://a.example"]
    assert "".join(delta.refusal for delta in deltas) == "No."


async def test_a_conversation_that_goes_on(tmp_path: Path) -> None:
    """Who sends an answer back as it came would be refused for what was remarked on it, or the provider be sent it."""
    cited = {"message": {"role": "assistant", "content": "A", "annotations": [CITATION]}}
    scripts = answer(cited), chat_answer("Yes.")
    async with chatting(tmp_path, *scripts) as (router, upstream), router.client() as client:
        first = await client.complete("A?", model=MODEL)
        turns: list[Message | Mapping[str, object]] = [{"role": "user", "content": "A?"}, first.choices[0].message]
        await client.complete([*turns, {"role": "user", "content": "Sure?"}], model=MODEL)
    assert upstream.requests[1].json["messages"][1] == {"role": "assistant", "content": "A"}


async def test_a_prediction(tmp_path: Path) -> None:
    """A caller would not see what his wrong prediction costs him, or it cost more than is held."""
    details = {"accepted_prediction_tokens": 40, "rejected_prediction_tokens": 50}
    script = answer({"message": {"content": "A"}}, completion_tokens_details=details)
    async with chatting(tmp_path, script) as (router, _), router.client() as client:
        without = await client.explain("Again.", model=MODEL, max_tokens=10)
        planned = await client.explain("Again.", model=MODEL, max_tokens=10, prediction=Prediction(content="x" * 500))
        got = await client.complete("Again.", model=MODEL, max_tokens=10, prediction=Prediction(content="x" * 500))
    assert (got.usage.accepted_prediction_tokens, got.usage.rejected_prediction_tokens) == (40, 50)
    assert got.cost.cost_nanousd == 1_000 * 150 + 100 * 600
    assert planned.candidates[0].ceiling_nanousd >= without.candidates[0].ceiling_nanousd + 490 * 150 + 500 * 600


def asked(part: Part) -> list[Message]:
    """Return a question about something."""
    return [Message(role=Role.ROLE_USER, parts=[Part(text=TextPart(text="What is it?")), part])]


async def test_a_document(tmp_path: Path) -> None:
    """A model would answer about a document that it never saw, or less be held than reading it can cost."""
    data = "data:application/pdf;base64," + base64.b64encode(b"%PDF-1.4").decode()
    turns = asked(Part(file=FilePart(filename="a.pdf", file_data=data)))
    async with chatting(tmp_path, chat_answer("Read.")) as (router, upstream), router.client() as client:
        planned = await client.explain(turns, model=MODEL, max_tokens=1)
        await client.complete(turns, model=MODEL, max_tokens=1)
    sent = {"type": "file", "file": {"filename": "a.pdf", "file_data": data}}
    assert upstream.requests[0].json["messages"][0]["content"] == [{"type": "text", "text": "What is it?"}, sent]
    assert planned.candidates[0].ceiling_nanousd >= 34 * CONTEXT_TOKENS * 150


async def test_a_file_that_lies_at_a_provider(tmp_path: Path) -> None:
    """An account could read what another one has stored under the credential that they share."""
    turns = asked(Part(file=FilePart(file_id="file-of-somebody")))
    async with chatting(tmp_path, chat_answer("Read.")) as (router, upstream), router.client() as client:
        error = await refusal(client.complete(turns, model=MODEL))
    assert error.reason == "INVALID_FIELD"
    assert not upstream.requests


async def test_a_recording(tmp_path: Path) -> None:
    """A model would answer about a recording that it never heard, or its sound be sold at the price of text."""
    script = answer({"message": {"content": "A bell."}}, prompt_tokens_details={"audio_tokens": 900})
    turns = asked(Part(audio=AudioPart(data="UklGRg==", format="wav")))
    async with chatting(tmp_path, script) as (router, upstream), router.client() as client:
        got = await client.complete(turns, model=MODEL, max_tokens=100)
        record = await router.generation(got.generation_id)
    sent = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
    assert upstream.requests[0].json["messages"][0]["content"][1] == sent
    assert (got.usage.audio_input_tokens, got.usage.audio_output_tokens) == (900, 0)
    assert got.cost.cost_nanousd == 100 * 150 + 900 * 10_000 + 100 * 600
    assert record is not None
    assert record.hold_nanousd == CONTEXT_TOKENS * 10_000 + 100 * 600


async def test_an_answer_that_is_heard(tmp_path: Path) -> None:
    """A caller would not hear what he pays for, or less be held than it can cost."""
    audio = {"id": "audio-1", "data": "UklGRg==", "transcript": "Hello.", "expires_at": 9}
    script = answer({"message": {"content": None, "audio": audio}}, completion_tokens_details={"audio_tokens": 80})
    async with chatting(tmp_path, script) as (router, upstream), router.client() as client:
        voice = Voice(voice="alloy", format="wav")
        got = await client.complete("Hello?", model=MODEL, max_tokens=100, modalities=["text", "audio"], audio=voice)
        turns = [got.choices[0].message, Message(role=Role.ROLE_USER, parts=[Part(text=TextPart(text="Again."))])]
        await client.complete(turns, model=MODEL)
        record = await router.generation(got.generation_id)
    first, second = (request.json for request in upstream.requests)
    assert (first["modalities"], first["audio"]) == (["text", "audio"], {"voice": "alloy", "format": "wav"})
    spoken = got.choices[0].message.speech
    assert (spoken.id, spoken.data, spoken.transcript, spoken.expires_at) == ("audio-1", "UklGRg==", "Hello.", 9)
    assert second["messages"][0] == {"role": "assistant", "content": "Hello."}
    assert got.usage.audio_output_tokens == 80
    assert got.cost.cost_nanousd == 1_000 * 150 + 20 * 600 + 80 * 20_000
    assert record is not None
    assert record.hold_nanousd >= 100 * 20_000


async def test_an_answer_that_is_heard_as_it_comes(tmp_path: Path) -> None:
    """Sound would come in one piece at the end, or not at all."""
    pieces = [{"audio": {"id": "audio-1", "transcript": "Hi"}}, *({"audio": {"data": data}} for data in ("AAAA", "BBBB"))]
    events = [*(said(0, piece) for piece in pieces), said(0, {}, "stop"), DONE]
    async with chatting(tmp_path, lambda _: sse(events)) as (router, _), router.client() as client:
        voice = Voice(voice="alloy", format="pcm16")
        got = await events_of(client.stream("Hello?", model=MODEL, modalities=["text", "audio"], audio=voice))
    deltas = [one.delta.speech for one in got if one.HasField("delta")]
    assert ("".join(one.transcript for one in deltas), [one.data for one in deltas if one.data]) == ("Hi", ["AAAA", "BBBB"])
    assert got[-1].finished.usage.estimated
    assert got[-1].finished.usage.output_tokens > 1


async def test_a_recording_whose_price_nobody_knows(tmp_path: Path) -> None:
    """Sound would be sold at the price of text, a thirteenth of what its provider takes for it."""
    turns = asked(Part(audio=AudioPart(data="UklGRg==", format="wav")))
    prices = msgspec.structs.replace(PRICED, audio_input=None)
    async with chatting(tmp_path, chat_answer("A bell."), prices=prices) as (router, upstream), router.client() as client:
        planned = await client.explain(turns, model=MODEL)
        error = await refusal(client.complete(turns, model=MODEL))
    assert [(one.endpoint, one.reason) for one in planned.excluded] == [(ENDPOINT, "PRICE_UNKNOWN")]
    assert error.reason == "NO_ELIGIBLE_ENDPOINT"
    assert not upstream.requests
