"""The OpenAI-chat dialect under every cut, every spec and any rubbish."""

import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from junctor.adapters.providers.dialect import Quirks
from junctor.adapters.providers.dialects.openai_chat import OpenAIChat
from junctor.adapters.providers.dialects.openai_chat.call_ids import nine_alphanumeric
from junctor.domain.catalog import Endpoint
from junctor.domain.completion import (
    AudioPart,
    CacheControl,
    Completion,
    CompletionSpec,
    Delta,
    FilePart,
    ImagePart,
    JsonSchemaFormat,
    Message,
    Reasoning,
    Role,
    StreamEnd,
    TextPart,
    Tool,
    ToolCall,
)
from junctor.domain.routing import Failure
from junctor.wire import openai_chat as wire
from tests.support.recorded_chat import exchanges

BODIES = [exchange.body.encode() for exchange in exchanges() if exchange.status == 200]
STREAMS = [body for body in BODIES if not body.startswith(b"{")]
Parts = list[Delta | StreamEnd | Failure]


def read(reads: list[bytes]) -> Parts:
    """Feed reads to a new decoder and end it if they did not."""
    decoder = OpenAIChat().decoder()
    parts = [part for data in reads for part in decoder.feed(data)]
    if not parts or isinstance(parts[-1], Delta):
        parts.append(decoder.end())
    return parts


def test_every_cut_of_recorded_streams() -> None:
    """An answer would depend on how the network cut it."""
    assert len(STREAMS) >= 8
    for stream in STREAMS:
        whole = read([stream])
        for size in (1, 7, 1000):
            assert read([stream[start : start + size] for start in range(0, len(stream), size)]) == whole


def test_every_single_cut_of_the_shortest_stream() -> None:
    """The same, at each place once."""
    stream = min(STREAMS, key=len)
    whole = read([stream])
    assert all(read([stream[:place], stream[place:]]) == whole for place in range(len(stream)))


@given(st.data())
def test_broken_off_streams_never_end_well_without_a_reason(data: st.DataObject) -> None:
    """A stream that was cut off would pass for a whole answer."""
    stream = data.draw(st.sampled_from(STREAMS))
    place = data.draw(st.integers(0, len(stream)))
    *deltas, end = read([stream[:place]])
    assert not any(isinstance(part, StreamEnd | Failure) for part in deltas)
    if isinstance(end, StreamEnd):
        assert b'"finish_reason":"' in stream[:place]
    elif isinstance(end, Failure) and end.code is None:
        assert end.committed == bool(deltas)


KEYS = [
    key
    for struct in (
        wire.ChatCompletion,
        wire.Choice,
        wire.ChatMessage,
        wire.ContentPart,
        wire.ToolCall,
        wire.FunctionCall,
        wire.Speech,
        wire.Annotation,
        wire.UrlCitation,
        wire.Logprobs,
        wire.TokenLogprob,
        wire.Usage,
        wire.CompletionTokensDetails,
    )
    for key in struct.__struct_fields__
] + ["code", "metadata", "raw", "detail", "msg"]
JUNK = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 10**40), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=6,
        ),
    ),
    max_leaves=25,
)
HEADERS = st.dictionaries(
    st.sampled_from(["retry-after", "retry-after-ms", "date", "x-ratelimit-reset", "x-ratelimit-reset-tokens"]),
    st.one_of(st.text(max_size=30), st.from_regex(r"[A-Z][a-z]{2}, \d{1,20} [A-Z][a-z]{2} \d{1,20} \d+:\d+:\d+ GMT")),
)


@given(st.one_of(JUNK.map(lambda junk: json.dumps(junk).encode()), st.binary(max_size=40)), HEADERS, st.integers(201, 599))
def test_rubbish_is_a_value_never_an_exception(body: bytes, headers: dict[str, str], status: int) -> None:
    """A provider that sends rubbish would crash the call instead of failing over."""
    dialect = OpenAIChat()
    whole = dialect.decode(body)
    if not isinstance(whole, Failure) and whole.usage is not None:
        assert min(msgspec.structs.astuple(whole.usage)) >= 0
    assert isinstance(read([b"data: " + body + b"\n\n"])[-1], StreamEnd | Failure)
    hint = dialect.refusal(status, headers, body).retry_after_s
    assert hint is None or 0 <= hint < float("inf")


def replaced(value: object, turns: list[int], junk: object) -> object:
    """Return JSON with one place in it, found by these turns, replaced."""
    if turns and isinstance(value, dict) and value:
        key = list(value)[turns[0] % len(value)]
        return {**value, key: replaced(value[key], turns[1:], junk)}
    if turns and isinstance(value, list) and value:
        place = turns[0] % len(value)
        return [*value[:place], replaced(value[place], turns[1:], junk), *value[place + 1 :]]
    return junk


@given(st.sampled_from(BODIES), st.lists(st.integers(0, 10), min_size=1, max_size=8), JUNK)
def test_answers_with_one_odd_value_are_read_or_refused(body: bytes, turns: list[int], junk: object) -> None:
    """A provider that changes one field would crash the call instead of failing over."""
    if body.startswith(b"{"):
        decoded = OpenAIChat().decode(json.dumps(replaced(json.loads(body), turns, junk)).encode())
        assert isinstance(decoded, Completion | Failure)
        return
    events = [event for event in body.split(b"\n\n") if event.startswith(b"data: {")]
    place = turns[0] * len(events) // 11
    odd = json.dumps(replaced(json.loads(events[place].removeprefix(b"data: ")), turns[1:], junk)).encode()
    events[place] = b"data: " + odd
    assert isinstance(read([b"\n\n".join(events) + b"\n\n"])[-1], StreamEnd | Failure)


TEXT = st.text(alphabet=st.characters(codec="utf-8"), max_size=8)
FREE_JSON = st.dictionaries(TEXT, st.integers(-(10**30), 10**30), max_size=3).map(json.dumps)
MARKS = st.none() | st.builds(CacheControl, TEXT, st.none() | TEXT)
PARTS = st.one_of(
    st.builds(TextPart, TEXT, MARKS),
    st.builds(ImagePart, TEXT, st.none() | TEXT, MARKS),
    st.builds(AudioPart, TEXT, TEXT, MARKS),
    st.builds(FilePart, st.none() | TEXT, st.none() | TEXT, st.none(), MARKS),
)
CONTENT = st.lists(PARTS, max_size=3).map(tuple)
CALLS = st.lists(st.builds(ToolCall, TEXT, TEXT, TEXT), max_size=3).map(tuple)
MESSAGES = st.builds(
    Message,
    st.sampled_from(Role),
    CONTENT,
    st.none() | TEXT,
    CALLS,
    st.none() | TEXT,
    st.none() | TEXT,
    st.lists(FREE_JSON).map(tuple),
)
NUMBERS = st.none() | st.floats(allow_nan=False, allow_infinity=False)
SPECS = st.builds(
    CompletionSpec,
    model=st.just("author/model"),
    messages=st.lists(MESSAGES, max_size=3).map(tuple),
    tools=st.lists(st.builds(Tool, TEXT, st.none() | TEXT, st.none() | FREE_JSON, st.none() | st.booleans(), MARKS)).map(tuple),
    response_format=st.none()
    | st.builds(JsonSchemaFormat, TEXT, st.none() | TEXT, st.none() | FREE_JSON, st.none() | st.booleans()),
    stop=st.none() | st.lists(TEXT, min_size=1, max_size=4).map(tuple),
    max_tokens=st.none() | st.integers(1, 2**31),
    temperature=NUMBERS,
    top_p=NUMBERS,
    seed=st.none() | st.integers(-(2**63), 2**63 - 1),
    reasoning=st.none() | st.builds(Reasoning, TEXT),
    metadata=st.dictionaries(TEXT, TEXT, max_size=3).map(lambda pairs: tuple(pairs.items())),
    user=st.none() | TEXT,
    n=st.none() | st.integers(1, 8),
)
ENDPOINT = Endpoint(
    id="p/author/model",
    model="author/model",
    provider="p",
    upstream_model="m",
    dialect="openai_chat",
    base_url="",
    parameters=CompletionSpec.__struct_fields__,
)


def said(message: wire.ChatMessage) -> list[tuple[object, ...]]:
    """Return the parts of a message as they arrive."""
    if isinstance(message.content, list):
        held = [(part.text or part.image_url or part.input_audio or part.file, part) for part in message.content]
        return [("" if inner is None else inner, part.cache_control) for inner, part in held]
    return [(message.content, None)] if message.content else []


def meant(message: Message) -> list[tuple[object, ...]]:
    """Return the parts of a message as they were given; a lone empty text is as good as none."""
    parts: list[tuple[object, ...]] = []
    for part in message.parts:
        mark = part.cache_control and wire.CacheControl(part.cache_control.type, part.cache_control.ttl)
        if isinstance(part, ImagePart):
            parts.append((wire.ImageUrl(part.url, part.detail), mark))
        elif isinstance(part, AudioPart):
            parts.append((wire.InputAudio(part.data, part.format), mark))
        elif isinstance(part, FilePart):
            parts.append((wire.File(part.filename, part.file_data), mark))
        elif isinstance(part, TextPart):
            parts.append((part.text, mark))
    return [] if parts == [("", None)] else parts


@given(SPECS, st.booleans())
def test_a_request_keeps_everything(spec: CompletionSpec, stream: bool) -> None:
    """Something of the caller's request would not reach the model, or reach it changed."""
    encoded = OpenAIChat().encode(ENDPOINT, spec, Quirks(reasoning_replay="reasoning"), stream=stream)
    sent = msgspec.json.decode(encoded.body, type=wire.ChatRequest)
    assert encoded.dropped == ()
    assert (sent.model, sent.stream) == ("m", stream)
    assert (sent.temperature, sent.top_p, sent.seed, sent.n) == (spec.temperature, spec.top_p, spec.seed, spec.n)
    assert (sent.max_completion_tokens, sent.max_tokens, sent.user) == (spec.max_tokens, None, spec.user)
    assert sent.stop == (None if spec.stop is None else list(spec.stop))
    assert sent.metadata == (dict(spec.metadata) or None)
    assert sent.reasoning_effort == (spec.reasoning and spec.reasoning.effort)
    functions = [(tool.function.name, tool.function.description, tool.function.strict) for tool in sent.tools or ()]
    assert functions == [(tool.name, tool.description, tool.strict) for tool in spec.tools]
    for tool in spec.tools:
        assert tool.parameters is None or tool.parameters.encode() in encoded.body
    if isinstance(spec.response_format, JsonSchemaFormat):
        assert sent.response_format is not None
        assert sent.response_format.json_schema is not None
        assert sent.response_format.json_schema.name == spec.response_format.name
        assert (spec.response_format.schema or "").encode() in encoded.body
    for message, given_message in zip(sent.messages, spec.messages, strict=True):
        assert message.role == given_message.role.value
        assert (message.name, message.tool_call_id) == (given_message.name, given_message.tool_call_id)
        assert said(message) == meant(given_message)
        calls = [
            (call.id, call.function and (call.function.name, call.function.arguments)) for call in message.tool_calls or ()
        ]
        assert calls == [(call.id, (call.name, call.arguments)) for call in given_message.tool_calls]
        replayed = given_message if given_message.role is Role.ASSISTANT else Message(given_message.role)
        assert message.reasoning == replayed.reasoning
        assert tuple(bytes(detail).decode() for detail in message.reasoning_details or ()) == replayed.reasoning_details


def test_a_short_id_that_is_taken() -> None:
    """A call whose new id another call has already would get that one's answer."""
    short = nine_alphanumeric(["call_1"])["call_1"]
    mapped = nine_alphanumeric(["call_1", short])
    assert mapped[short] == short
    assert mapped["call_1"] != short


@given(st.lists(TEXT | st.from_regex(r"[0-9A-Za-z]{9}", fullmatch=True), max_size=20))
def test_short_ids_are_a_renaming(ids: list[str]) -> None:
    """Two calls would come under one id, or one under two."""
    mapped = nine_alphanumeric(ids)
    assert mapped.keys() == set(ids)
    assert len(set(mapped.values())) == len(mapped)
    assert all(len(short) == 9 and short.isascii() and short.isalnum() for short in mapped.values())
    assert nine_alphanumeric([*ids, "one more"]) == mapped | {"one more": nine_alphanumeric([*ids, "one more"])["one more"]}
