"""The requests of `poe fuzz-wire`: half noise, half mutations of valid messages, some with credentials that are noise too.

A case follows from the seed and its index alone, so that one can be made again without those before it.
"""

from random import Random
from uuid import UUID

from google.protobuf.message import DecodeError
from msgspec import Struct

from junctor.v1.completion_pb2 import ROLE_ASSISTANT, ROLE_TOOL, ROLE_USER, Message, Part, TextPart, ToolChoice
from junctor.v1.router_service_pb2 import CompleteRequest, StreamRequest
from tests.support.fuzz_bytes import noise
from tests.support.fuzz_messages import FuzzMessages, Scalar
from tests.support.harness import MODEL

Request = CompleteRequest | StreamRequest
METHODS: dict[str, type[Request]] = {"Complete": CompleteRequest, "Stream": StreamRequest}
CREDENTIALS_FUZZED = 0.08
NAMED, NAMED_FRESH = 0.4, 0.5
"""Which share of requests is named by its caller, and which of these by a name of its own."""
NAMES = ("6f1b0c9e-58aa-4c5e-9d5b-0123456789ab", "00000000-0000-0000-0000-000000000000")
"""Names that several requests have."""

_SCHEMA = '{"type":"object","properties":{"b":{"type":"number"},"a":{"type":"string"}}}'
_SPEC, _MESSAGE, _PART = "junctor.v1.CompletionSpec", "junctor.v1.Message", "junctor.v1.ImagePart"
PLAUSIBLE: dict[str, tuple[Scalar, ...]] = {
    f"{_SPEC}.model": (MODEL, "openai/gpt-4o-mini", "mistralai/mistral-small-2603", "qwen/qwen3.8-27b", "nobody/nothing"),
    f"{_SPEC}.max_tokens": (1, 64, 4096),
    f"{_SPEC}.temperature": (0.0, 0.7, 2.0),
    f"{_SPEC}.top_p": (0.0, 0.9, 1.0),
    f"{_SPEC}.top_k": (0, 40),
    f"{_SPEC}.min_p": (0.0, 0.05),
    f"{_SPEC}.top_a": (0.0, 0.2),
    f"{_SPEC}.frequency_penalty": (-2.0, 0.5),
    f"{_SPEC}.presence_penalty": (-0.5, 2.0),
    f"{_SPEC}.repetition_penalty": (1.0, 1.1),
    f"{_SPEC}.n": (1,),
    f"{_SPEC}.modalities": ("text",),
    f"{_SPEC}.extra_json": ("{}", '{"vendor_option":[1,2.50,{"z":null,"a":"\\u00e9"}]}'),
    f"{_MESSAGE}.role": (ROLE_USER, ROLE_ASSISTANT, ROLE_TOOL),
    f"{_PART}.url": ("https://example.test/a.png", "data:image/png;base64,AAAA"),
    "junctor.v1.Tool.parameters_json": (_SCHEMA, "{}"),
    "junctor.v1.JsonSchema.schema_json": (_SCHEMA, "{}"),
    "junctor.v1.ToolCall.arguments_json": ('{"b":2,"a":"x"}', ""),
    "junctor.v1.ReasoningDetail.detail_json": ('{"type":"reasoning.text","text":"so"}',),
    "junctor.v1.CacheControl.type": ("ephemeral",),
    "junctor.v1.CompletionSpec.LogitBiasEntry.value": (-100.0, 0.5, 100.0),
    "junctor.v1.CompletionSpec.MetadataEntry.key": ("team", "größe"),
    "junctor.v1.ToolCall.id": ("call_1", "x" * 40),
    "junctor.v1.ToolCall.name": ("look_up",),
    "junctor.v1.TextPart.text": ("Say it.", "¿Qué?", "x" * 3000),
    "junctor.v1.Tool.name": ("look_up", "look-up-2"),
    "junctor.v1.JsonSchema.name": ("answer",),
    "junctor.v1.ToolChoice.mode": (ToolChoice.MODE_NONE, ToolChoice.MODE_AUTO, ToolChoice.MODE_REQUIRED),
    "junctor.v1.Reasoning.effort": ("none", "low", "high"),
    "junctor.v1.Reasoning.max_tokens": (1, 2048),
    "junctor.v1.StopSequences.sequences": ("END", "\n\n", "停"),
    "junctor.v1.CompleteRequest.request_id": NAMES,
    "junctor.v1.StreamRequest.request_id": NAMES,
}


class Case(Struct, frozen=True):
    """One request. `credentials` says what is wrong with them, and is empty where they are right."""

    index: int
    kind: str
    mutated: bool
    method: str
    body: bytes
    metadata: tuple[tuple[str, str | bytes], ...]
    credentials: str

    def decoded(self) -> Request | None:
        """Return what the decoder makes of the body, None if it refuses it."""
        try:
            return METHODS[self.method].FromString(self.body)
        except DecodeError:
            return None


def make_case(seed: int, index: int, api_key: str) -> Case:
    """Make the request of an index: an even one is noise, an odd one is mutated."""
    rng = Random(f"{seed}/{index}")
    method = rng.choice(("Complete", "Stream"))
    mutated = index % 2 == 1
    kind, body = FuzzMessages(rng, PLAUSIBLE).mutated(valid(rng, method)) if mutated else noise(rng)
    credentials, metadata = _credentials(rng, api_key) if rng.random() < CREDENTIALS_FUZZED else ("", _bearer(api_key))
    return Case(index, kind, mutated, method, body, metadata, credentials)


def valid(rng: Random, method: str) -> Request:
    """Make a message as callers send it, as a rule with a few fields more than it needs."""
    request = METHODS[method]()
    filler = FuzzMessages(rng, PLAUSIBLE)
    filler.fill(request.spec, rng.choice((0.0, 0.03, 0.1, 0.2, 0.6)))
    if rng.random() < 0.9:
        _keep_to_what_is_built(request)
    else:
        filler.fill(request, 0.5)
    if rng.random() < NAMED:
        fresh = UUID(int=rng.getrandbits(128), version=4)
        request.request_id = str(fresh) if rng.random() < NAMED_FRESH else rng.choice(NAMES)
    request.spec.model = str(rng.choice(PLAUSIBLE[f"{_SPEC}.model"])) if rng.random() < 0.3 else MODEL
    if not request.spec.messages or rng.random() < 0.5:
        del request.spec.messages[:]
        for number in range(rng.randint(1, 3)):
            request.spec.messages.append(Message(role=ROLE_USER, parts=[Part(text=TextPart(text=f"Say {number}."))]))
    return request


def _keep_to_what_is_built(request: Request) -> None:
    """Clear what this version refuses whatever it says, or nothing else of most messages would be seen."""
    request.ClearField("preferences")
    for name in ("models", "preset", "session_id", "logprobs", "top_logprobs"):
        request.spec.ClearField(name)


def _bearer(api_key: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {api_key}"),)


def _credentials(rng: Random, api_key: str) -> tuple[str, tuple[tuple[str, str | bytes], ...]]:
    """Return metadata that does not prove who calls, and what is wrong with it."""
    spoiled = list(api_key)
    spoiled[rng.randrange(len(spoiled))] = rng.choice("0aZ~ ")
    visible = "".join(chr(rng.randrange(0x20, 0x7F)) for _ in range(rng.randrange(1, 300)))
    wrong: dict[str, tuple[tuple[str, str | bytes], ...]] = {
        "missing": (),
        "empty": (("authorization", ""),),
        "scheme alone": (("authorization", "Bearer "),),
        "other scheme": (("authorization", rng.choice(("Basic ", "Token ", "Bearer")) + api_key),),
        "no scheme": (("authorization", api_key),),
        "other header": (("x-api-key", api_key),),
        "binary header": (("authorization-bin", b"Bearer " + api_key.encode()),),
        "noise": (("authorization", f"Bearer {visible}"),),
        "long": (("authorization", "Bearer " + "k" * rng.choice((500, 4000, 7000, 20_000, 100_000))),),
        "one letter off": (("authorization", "Bearer " + "".join(spoiled)),) if "".join(spoiled).strip() != api_key else (),
        "cut": (("authorization", f"Bearer {api_key[: rng.randrange(len(api_key))]}"),),
    }
    kind = rng.choice(list(wrong))
    return kind, wrong[kind]
