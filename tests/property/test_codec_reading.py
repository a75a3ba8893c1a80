"""Any valid request against a second, naive reading of it; any rubbish against the one way in which it may be refused."""

import base64
import random
from typing import Any

import msgspec
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from junctor.domain.completion import CompletionSpec
from junctor.domain.errors import InvalidFieldError
from junctor.doors.codec import messages
from junctor.doors.codec.checks import Limits
from junctor.v1 import completion_pb2 as pb
from junctor.v1.router_service_pb2 import CompleteRequest
from tests.support.fuzz_messages import FuzzMessages, Scalar
from tests.support.requests import UNKNOWN_FIELD, read, violations

TEXTS = st.text(max_size=20)
NAMES = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)
IDENTIFIERS = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=10
)
OBJECTS = st.dictionaries(TEXTS.map("x-{}".format), JSON, max_size=4).map(lambda held: msgspec.json.encode(held).decode())
INT32 = st.integers(1, 2**31 - 1)
SHARES = st.floats(0, 1)


def absent_or(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Leave it out half of the time."""
    return st.none() | strategy


def message(kind: Any, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Make messages of a type; None leaves a field out."""
    return st.fixed_dictionaries(fields).map(lambda found: kind(**{name: v for name, v in found.items() if v is not None}))


MARKS = message(pb.CacheControl, type=NAMES, ttl=absent_or(NAMES))
PARTS = message(pb.Part, text=message(pb.TextPart, text=TEXTS), cache_control=absent_or(MARKS)) | message(
    pb.Part,
    image=message(pb.ImagePart, url=TEXTS.map("https://{}".format), detail=absent_or(NAMES)),
    cache_control=absent_or(MARKS),
)
DATA = st.binary(min_size=1, max_size=9).map(lambda data: base64.b64encode(data).decode())
MEDIA = message(pb.Part, audio=message(pb.AudioPart, data=DATA, format=NAMES), cache_control=absent_or(MARKS)) | message(
    pb.Part,
    file=message(
        pb.FilePart,
        filename=absent_or(NAMES),
        file_data=DATA.map("data:application/pdf;base64,{}".format) | TEXTS.map("https://{}".format),
    ),
    cache_control=absent_or(MARKS),
)
PLACES = absent_or(st.integers(0, 2**53))
ANNOTATIONS = message(pb.Annotation, other_json=OBJECTS) | message(
    pb.Annotation,
    url_citation=message(
        pb.UrlCitation, url=TEXTS, title=absent_or(TEXTS), content=absent_or(TEXTS), start_index=PLACES, end_index=PLACES
    ),
)
SPEAKERS = message(
    pb.Message,
    role=st.sampled_from([pb.ROLE_SYSTEM, pb.ROLE_DEVELOPER, pb.ROLE_USER]),
    parts=st.lists(PARTS | MEDIA, min_size=1, max_size=3),
    name=absent_or(NAMES),
)
ASSISTANTS = message(
    pb.Message,
    role=st.just(pb.ROLE_ASSISTANT),
    parts=st.lists(PARTS, max_size=2),
    tool_calls=st.lists(message(pb.ToolCall, id=NAMES, name=NAMES, arguments_json=st.just("") | OBJECTS), max_size=2),
    reasoning=absent_or(TEXTS),
    reasoning_details=st.lists(message(pb.ReasoningDetail, detail_json=OBJECTS), max_size=2),
    refusal=absent_or(TEXTS),
    annotations=st.lists(ANNOTATIONS, max_size=2),
)
TOOL_RESULTS = message(
    pb.Message, role=st.just(pb.ROLE_TOOL), parts=st.lists(PARTS, min_size=1, max_size=2), tool_call_id=NAMES
)
TOOLS = message(
    pb.Tool,
    name=IDENTIFIERS,
    description=absent_or(TEXTS),
    parameters_json=absent_or(OBJECTS),
    strict=absent_or(st.booleans()),
    cache_control=absent_or(MARKS),
)
FORMATS = st.one_of(
    message(pb.ResponseFormat, text=st.just(pb.TextFormat())),
    message(pb.ResponseFormat, json_object=st.just(pb.JsonObjectFormat())),
    message(pb.ResponseFormat, grammar=message(pb.GrammarFormat, grammar=TEXTS)),
    message(
        pb.ResponseFormat,
        json_schema=message(
            pb.JsonSchema,
            name=IDENTIFIERS,
            description=absent_or(TEXTS),
            schema_json=absent_or(OBJECTS),
            strict=absent_or(st.booleans()),
        ),
    ),
)
SPECS = message(
    pb.CompletionSpec,
    model=IDENTIFIERS,
    messages=st.lists(SPEAKERS | ASSISTANTS | TOOL_RESULTS, min_size=1, max_size=4),
    tools=st.lists(TOOLS, max_size=3),
    tool_choice=absent_or(message(pb.ToolChoice, mode=st.sampled_from([1, 2, 3]))),
    parallel_tool_calls=absent_or(st.booleans()),
    response_format=absent_or(FORMATS),
    stop=absent_or(message(pb.StopSequences, sequences=st.lists(st.text(min_size=1, max_size=5), max_size=4))),
    max_tokens=absent_or(INT32),
    temperature=absent_or(st.floats(0, 2)),
    top_p=absent_or(SHARES),
    top_k=absent_or(INT32),
    min_p=absent_or(SHARES),
    top_a=absent_or(SHARES),
    frequency_penalty=absent_or(st.floats(-2, 2)),
    presence_penalty=absent_or(st.floats(-2, 2)),
    repetition_penalty=absent_or(st.floats(0, 2)),
    seed=absent_or(st.integers(-(2**63), 2**63 - 1)),
    logit_bias=st.dictionaries(st.integers(0, 2**31 - 1), st.floats(-100, 100), max_size=3),
    reasoning=absent_or(
        message(pb.Reasoning, effort=absent_or(NAMES), max_tokens=absent_or(INT32), exclude=absent_or(st.booleans()))
    ),
    modalities=st.sampled_from([[], ["text"]]),
    prediction=absent_or(message(pb.Prediction, content=TEXTS)),
    verbosity=absent_or(TEXTS),
    user=absent_or(TEXTS),
    metadata=st.dictionaries(NAMES, TEXTS, max_size=3),
    service_tier=absent_or(TEXTS),
    prompt_cache_key=absent_or(TEXTS),
    n=absent_or(st.integers(1, 128)),
    logprobs=absent_or(st.booleans()),
    extra_json=absent_or(OBJECTS),
)
RENAMED = {
    "arguments_json": "arguments",
    "parameters_json": "parameters",
    "schema_json": "schema",
    "extra_json": "extra",
    "start_index": "start",
    "end_index": "end",
}
UNWRAPPED = {"StopSequences": "sequences", "Prediction": "content", "ReasoningDetail": "detail_json"}
TAGGED = {"Part": "content", "ResponseFormat": "format", "Annotation": "kind"}


def naive(held: Any) -> Any:
    """Read a message by its descriptors alone, into the shapes that the domain's own JSON form has."""
    descriptor = held.DESCRIPTOR
    if descriptor.name in UNWRAPPED:
        inner = getattr(held, UNWRAPPED[descriptor.name])
        return inner if isinstance(inner, str) else list(inner)
    found: dict[str, Any] = {}
    for field in descriptor.fields:
        value = getattr(held, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            found[field.name] = [list(entry) for entry in sorted(value.items())]
        elif field.is_repeated:
            found[field.name] = [naive(entry) if field.message_type is not None else entry for entry in value]
        elif not field.has_presence or held.HasField(field.name):
            if field.enum_type is not None:
                value = field.enum_type.values_by_number[value].name.rpartition("_")[2].lower()
            found[RENAMED.get(field.name, field.name)] = naive(value) if field.message_type is not None else value
    if descriptor.name in TAGGED:
        kind = held.WhichOneof(TAGGED[descriptor.name])
        inner = found.pop(kind)
        found = {"type": "other", "json": inner} if kind == "other_json" else {"type": kind, **inner, **found}
    return found


def bare(held: Any) -> Any:
    """Leave out what is absent: None and empty lists, but for the one list in which empty says something."""
    if isinstance(held, dict):
        return {name: bare(v) for name, v in held.items() if v is not None and (v not in ([], ()) or name == "stop")}
    return [bare(entry) for entry in held] if isinstance(held, (list, tuple)) else held


@settings(max_examples=150, deadline=None)
@given(SPECS)
def test_a_valid_request_is_read_as_a_naive_reader_would(spec: pb.CompletionSpec) -> None:
    """Some combination of fields would reach the provider otherwise than it was asked for."""
    request = CompleteRequest.FromString(CompleteRequest(spec=spec).SerializeToString())
    found = read(request)
    assert bare(msgspec.to_builtins(found)) == bare(naive(spec))
    assert msgspec.convert(msgspec.to_builtins(found), CompletionSpec) == found


@settings(max_examples=60, deadline=None)
@given(SPECS)
def test_a_valid_request_with_one_stranger_in_it_is_refused(spec: pb.CompletionSpec) -> None:
    """A newer caller's field would be ignored among many known ones."""
    spec.messages[-1].MergeFromString(UNKNOWN_FIELD)
    assert list(violations(CompleteRequest(spec=spec))) == [f"spec.messages[{len(spec.messages) - 1}]"]


def refused_properly(body: bytes) -> bool:
    """Read bytes as a request; anything but a proper refusal goes through. Tell whether they were taken."""
    try:
        read(CompleteRequest.FromString(body))
    except (DecodeError, InvalidFieldError):
        return False
    return True


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_rubbish_is_refused_properly(body: bytes) -> None:
    """A request of noise would be a bug of ours, or hang a server."""
    refused_properly(body)


def test_broken_requests_are_refused_properly() -> None:
    """A request that is nearly right, but spoiled in one place, would be a bug of ours."""
    plausible: dict[str, tuple[Scalar, ...]] = {
        "junctor.v1.CompletionSpec.model": ("lab/model",),
        "junctor.v1.CompletionSpec.extra_json": ("{}",),
        "junctor.v1.ImagePart.url": ("https://a.example/x.png",),
        "junctor.v1.Tool.name": ("f",),
        "junctor.v1.Tool.parameters_json": ('{"type":"object"}',),
    }
    taken = 0
    for seed in range(700):
        fuzz = FuzzMessages(random.Random(seed), plausible)
        request = CompleteRequest()
        fuzz.fill(request, 0.15)
        _, body = fuzz.mutated(request)
        try:
            taken += refused_properly(body)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
    assert taken < 700


def told(request: CompleteRequest, limits: Limits) -> CompletionSpec | tuple[tuple[str, str], ...]:
    """Return what a request is read as, or all that is wrong with it."""
    try:
        return read(request, limits)
    except InvalidFieldError as error:
        return error.violations


def test_turns_of_one_text_are_read_as_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """What most requests are would be read otherwise than the rest, or a fault of theirs be told otherwise, or not at all."""
    texts = ("Hello", "Hello", "", "é" * 9, "é" * 13)
    cases = []
    for seed in range(400):
        rng = random.Random(seed)
        request = CompleteRequest(spec=pb.CompletionSpec(model="lab/model"))
        for _ in range(rng.randint(1, 5)):
            turn = request.spec.messages.add(role=pb.ROLE_USER)
            for _ in range(rng.choice((1, 1, 1, 2))):
                turn.parts.add().text.text = rng.choice(texts)
        fuzz = FuzzMessages(rng, {})
        for mutate in rng.sample((fuzz.add_field, fuzz.drop_field, fuzz.set_unknown_enum), rng.choice((0, 0, 1, 2))):
            mutate(request.spec.messages[-1])
        cases += [(request, Limits()), (request, Limits(messages_max=4, parts_max=4, string_bytes_max=24))]
    found = [told(*case) for case in cases]
    monkeypatch.setattr(messages, "_one_text", lambda _fields, _letters: None)
    assert found == [told(*case) for case in cases]
    assert {type(entry) for entry in found} == {CompletionSpec, tuple}
