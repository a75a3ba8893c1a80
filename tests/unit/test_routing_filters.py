"""Each thing that may speak against an endpoint, at its boundary, with the word that callers are told."""

from typing import Any

import msgspec
import pytest

from junctor.domain.account import Caller
from junctor.domain.catalog import DataPolicy, Endpoint, PriceCard, PriceParts, PriceTier, Quantization
from junctor.domain.completion import (
    AudioPart,
    FilePart,
    ImagePart,
    JsonObjectFormat,
    Message,
    Part,
    Reasoning,
    Role,
    TextFormat,
    TextPart,
    Tool,
    VideoPart,
)
from junctor.domain.routing import MaxPrice
from junctor.policy.routing import filters
from tests.support.routes import CALLER, NOW_S, call, card, endpoint, left_out, plan, tried, world


def reason(row: Endpoint, *, caller: Caller = CALLER, prefer: dict[str, Any] | None = None, **fields: Any) -> str | None:
    """Return why an endpoint is left out, beside two others with other limits; None if it is tried."""
    others = (endpoint("other"), endpoint("tiny", context_tokens=1, output_tokens_max=1))
    prices = {row.provider: card(audio_input=1, audio_output=1)}
    found = plan(world(row, *others, prices=prices), call(caller=caller, prefer=prefer, **fields))
    assert [row.provider in tried(found), row.provider in left_out(found)].count(True) == 1
    return left_out(found).get(row.provider)


def sent(*parts: Part) -> dict[str, Any]:
    """Return a conversation with these parts."""
    return {"messages": (Message(Role.USER, (TextPart("Look."), *parts)),)}


def test_every_reason_of_the_table_is_documented() -> None:
    """A caller would be told a word that nothing explains."""
    notes = filters.__doc__ or ""
    for word in (
        *("NOT_RUNNING", "DIALECT_UNSUPPORTED", "CREDENTIALS_MISSING", "PRICE_UNKNOWN", "PAID", "MODEL_NOT_ALLOWED"),
        *("PROVIDER_NOT_ALLOWED", "PROVIDER_NOT_IN_ONLY", "PROVIDER_IGNORED", "FALLBACK_NOT_ALLOWED", "QUANTIZATION"),
        *("DATA_COLLECTION", "ZDR", "PARAMETERS_UNSUPPORTED", "MODALITY_UNSUPPORTED", "OUTPUT_TOO_SHORT"),
        *("CONTEXT_TOO_SHORT", "MAX_PRICE", "BEYOND_FALLBACK_LIMIT"),
    ):
        assert f" {word} " in notes or f" {word}," in notes, word


def test_what_no_call_can_change() -> None:
    """An operator would not see which of his endpoints lacks a credential, and which a price."""
    rows = [endpoint(name) for name in ("keyless", "unpriced", "half", "sound")]
    snapshots = world(
        endpoint("asleep", base_url=""),
        endpoint("foreign", dialect="other"),
        *rows,
        credentials=dict.fromkeys(("asleep", "foreign", "unpriced", "half", "sound"), ("SPARE",)),
        prices={"unpriced": (), "half": msgspec.structs.replace(card(), parts=PriceParts(input=1))},
        dialects=frozenset({"d"}),
    )
    found = plan(snapshots)
    assert tried(found) == ["sound"]
    assert left_out(found) == {
        "asleep": "NOT_RUNNING",
        "foreign": "DIALECT_UNSUPPORTED",
        "keyless": "CREDENTIALS_MISSING",
        "unpriced": "PRICE_UNKNOWN",
        "half": "PRICE_UNKNOWN",
    }


def test_a_provider_that_wants_no_credential_needs_none() -> None:
    """A model on this machine would wait for a key that does not exist."""
    snapshots = world(endpoint("open"), credentials={})
    provider = msgspec.structs.replace(snapshots.catalog.providers["open"], credentials=())
    catalog = msgspec.structs.replace(snapshots.catalog, providers={"open": provider})
    (candidate,) = plan(msgspec.structs.replace(snapshots, catalog=catalog)).candidates
    assert candidate.credential is None


@pytest.mark.parametrize(
    ("caller", "prefer", "expected"),
    [
        (Caller("A", "K", allowed_providers=("other",)), {}, "PROVIDER_NOT_ALLOWED"),
        (Caller("A", "K", allowed_providers=("x",)), {}, None),
        (Caller("A", "K", allowed_providers=("other",)), {"only": ("x",)}, "PROVIDER_NOT_ALLOWED"),
        (CALLER, {"only": ("other",)}, "PROVIDER_NOT_IN_ONLY"),
        (CALLER, {"only": ()}, "PROVIDER_NOT_IN_ONLY"),
        (CALLER, {"only": ("x",)}, None),
        (CALLER, {"ignore": ("x",)}, "PROVIDER_IGNORED"),
        (CALLER, {"only": ("x",), "ignore": ("x",)}, "PROVIDER_IGNORED"),
        (CALLER, {"ignore": ("other",)}, None),
        (CALLER, {"order": ("other",), "allow_fallbacks": False}, "FALLBACK_NOT_ALLOWED"),
        (CALLER, {"order": ("other",)}, None),
        (CALLER, {"order": ("other", "x"), "allow_fallbacks": False}, None),
    ],
)
def test_which_providers_may_be_used(caller: Caller, prefer: dict[str, Any], expected: str | None) -> None:
    """A prompt would reach a provider that the caller, or his organisation, has ruled out."""
    assert reason(endpoint("x"), caller=caller, prefer=prefer) == expected


def test_without_fallbacks_only_the_first_is_tried() -> None:
    """A caller who wants one provider's answer or none would get another's."""
    found = plan(world(*map(endpoint, "abcd")), call(prefer={"allow_fallbacks": False}))
    assert len(tried(found)) == 1
    assert list(left_out(found).values()) == ["FALLBACK_NOT_ALLOWED"] * 3


@pytest.mark.parametrize(
    ("has", "named", "expected"),
    [
        (Quantization.FP8, (Quantization.FP8,), None),
        (Quantization.MXFP8, (Quantization.FP8,), None),
        (Quantization.FP8, (Quantization.MXFP8,), "QUANTIZATION"),
        (Quantization.NVFP4, (Quantization.BF16, Quantization.FP4), None),
        (Quantization.INT4, (Quantization.FP4,), "QUANTIZATION"),
        (Quantization.UNKNOWN, (Quantization.BF16,), "QUANTIZATION"),
        (Quantization.UNKNOWN, (Quantization.UNKNOWN,), None),
    ],
)
def test_quantizations(has: Quantization, named: tuple[Quantization, ...], expected: str | None) -> None:
    """Weights of fewer bits than the caller accepts would answer him."""
    assert reason(endpoint("x", quantization=has), prefer={"quantizations": named}) == expected


@pytest.mark.parametrize(
    ("policy", "collected", "kept"),
    [
        (None, "DATA_COLLECTION", "ZDR"),
        (DataPolicy(trains=False), "DATA_COLLECTION", "ZDR"),
        (DataPolicy(trains=False, retains=False), None, "ZDR"),
        (DataPolicy(trains=False, zdr=True), None, None),
        (DataPolicy(trains=True, zdr=True), "DATA_COLLECTION", None),
        (DataPolicy(trains=False, retains=True, zdr=False), "DATA_COLLECTION", "ZDR"),
    ],
)
def test_data_policies(policy: DataPolicy | None, collected: str | None, kept: str | None) -> None:
    """A prompt would be kept or trained on, against the caller's word, as nobody knew that it would not."""
    row = endpoint("x", data_policy=policy)
    assert reason(row, prefer={"data_collection": False}) == collected
    assert reason(row, prefer={"zdr": True}) == kept
    assert reason(row, prefer={"data_collection": True}) is None


@pytest.mark.parametrize(
    ("fields", "known", "expected"),
    [
        ({}, (), None),
        ({"temperature": 0.0}, ("temperature",), None),
        ({"temperature": 0.0, "seed": 1}, ("temperature",), "PARAMETERS_UNSUPPORTED"),
        ({"tools": (Tool("f"),)}, ("tools",), None),
        ({"response_format": TextFormat()}, (), None),
        ({"response_format": JsonObjectFormat()}, (), "PARAMETERS_UNSUPPORTED"),
        ({"reasoning": Reasoning(exclude=True)}, (), None),
        ({"reasoning": Reasoning(effort="high")}, (), "PARAMETERS_UNSUPPORTED"),
        ({"stop": ()}, (), None),
        ({"extra": '{"a":1}', "modalities": ("text",), "models": ("lab/model",)}, (), None),
    ],
)
def test_required_parameters(fields: dict[str, Any], known: tuple[str, ...], expected: str | None) -> None:
    """A caller who cannot do without a parameter would get an answer made without it."""
    row = endpoint("x", parameters=known)
    assert reason(row, prefer={"require_parameters": True}, **fields) == expected
    assert reason(row, **fields) is None


@pytest.mark.parametrize(
    ("part", "modality"),
    [
        (ImagePart("https://a.example/x.png"), "image"),
        (AudioPart("AAAA", "wav"), "audio"),
        (FilePart("a.pdf"), "file"),
        (VideoPart("https://a.example/x.mp4"), "video"),
    ],
)
def test_what_is_sent_must_be_understood(part: Part, modality: str) -> None:
    """A model would answer about a picture that it never saw."""
    assert reason(endpoint("x"), **sent(part)) == "MODALITY_UNSUPPORTED"
    assert reason(endpoint("x", input_modalities=("text", modality)), **sent(part)) is None
    assert reason(endpoint("x"), modalities=("text", modality)) == "MODALITY_UNSUPPORTED"
    assert reason(endpoint("x", output_modalities=("text", modality)), modalities=("text", modality)) is None


@pytest.mark.parametrize(
    ("price", "expected"),
    [(card(), {"x": "PRICE_UNKNOWN"}), (card(audio_input=1), {}), (card(audio_input=0), {}), (card(price=0), {})],
)
def test_sound_needs_a_price_of_its_own(price: PriceCard, expected: dict[str, str]) -> None:
    """A recording would be sold for a thirteenth of what its provider takes for it."""
    snapshots = world(endpoint("x", input_modalities=("text", "audio")), prices={"x": price})
    assert left_out(plan(snapshots, call(**sent(AudioPart("AAAA", "wav"))))) == expected
    assert left_out(plan(snapshots, call(**sent(TextPart("Listen."))))) == {}


@pytest.mark.parametrize(
    ("price", "expected"),
    [(card(audio_input=1), {"x": "PRICE_UNKNOWN"}), (card(audio_output=1), {}), (card(price=0), {})],
)
def test_speech_needs_a_price_of_its_own(price: PriceCard, expected: dict[str, str]) -> None:
    """The same for what a model says aloud."""
    snapshots = world(endpoint("x", output_modalities=("text", "audio")), prices={"x": price})
    assert left_out(plan(snapshots, call(modalities=("text", "audio")))) == expected
    assert left_out(plan(snapshots, call(modalities=("text",)))) == {}


def test_an_answer_is_text_unless_something_else_is_asked_for() -> None:
    """A conversation would be sent where vectors are made."""
    assert reason(endpoint("x", output_modalities=("embeddings",))) == "MODALITY_UNSUPPORTED"


@pytest.mark.parametrize(("limit", "asked", "expected"), [(99, 100, "OUTPUT_TOO_SHORT"), (100, 100, None), (None, 10**9, None)])
def test_output_that_an_endpoint_cannot_make(limit: int | None, asked: int, expected: str | None) -> None:
    """An answer would be cut shorter than its caller allowed it to be."""
    assert reason(endpoint("x", output_tokens_max=limit), max_tokens=asked) == expected


@pytest.mark.parametrize(
    ("context", "input_bytes", "output", "expected"),
    [
        (100, 799, None, None),
        (100, 808, None, "CONTEXT_TOO_SHORT"),
        (100, 400, 50, None),
        (99, 400, 50, "CONTEXT_TOO_SHORT"),
        (None, 400, 2**31 - 1, None),
    ],
)
def test_input_that_cannot_fit(context: int | None, input_bytes: int, output: int | None, expected: str | None) -> None:
    """A request would be sent where it is refused, or be refused by a guess of ours though it fits."""
    row = endpoint("x", context_tokens=context)
    turns = (Message(Role.USER, (TextPart("x" * input_bytes),)),)
    assert reason(row, messages=turns, max_tokens=output) == expected


TIERED = msgspec.structs.replace(
    card(1_000, image_input=7, request=5),
    tiers=(
        PriceTier(parts=PriceParts(input=3_000), input_tokens_from=200),
        PriceTier(parts=PriceParts(output=500), service_tier="flex"),
        PriceTier(parts=PriceParts(output=9_000), utc_from_min=NOW_S // 60 % 1440, utc_to_min=NOW_S // 60 % 1440 + 1),
    ),
)


@pytest.mark.parametrize(
    ("most", "length", "expected"),
    [
        (MaxPrice(), 10, None),
        (MaxPrice(input_picousd=3_000), 10, None),
        (MaxPrice(input_picousd=2_999), 10, "MAX_PRICE"),
        (MaxPrice(output_picousd=9_000, request_picousd=5, image_picousd=7), 10, None),
        (MaxPrice(output_picousd=8_999), 10, "MAX_PRICE"),
        (MaxPrice(request_picousd=4), 10, "MAX_PRICE"),
        (MaxPrice(image_picousd=6), 10, "MAX_PRICE"),
        (MaxPrice(output_picousd=0), 10, "MAX_PRICE"),
    ],
)
def test_the_most_that_may_be_paid(most: MaxPrice, length: int, expected: str | None) -> None:
    """A caller would be charged more for a token than the most that he set, in a tier that his prompt turned out to reach."""
    turns = (Message(Role.USER, (TextPart("x" * length),)),)
    found = plan(world(endpoint("x"), prices={"x": TIERED}), call(messages=turns, prefer={"max_price": most}))
    assert left_out(found).get("x") == expected


@pytest.mark.parametrize(("context", "expected"), [(199, None), (200, "MAX_PRICE")])
def test_a_tier_counts_where_the_input_may_reach_it(context: int, expected: str | None) -> None:
    """A caller would be charged more than the most that he set, or be refused for a price that he cannot reach."""
    row = endpoint("x", context_tokens=context)
    found = plan(world(row, prices={"x": TIERED}), call(prefer={"max_price": MaxPrice(input_picousd=2_999)}))
    assert left_out(found).get("x") == expected


def test_a_service_that_falls_back_to_the_standard_one_counts_as_that() -> None:
    """A caller who asks for a cheap tier would be charged the standard price, over the most that he set."""
    flex = PriceTier(parts=PriceParts(output=10), service_tier="flex")
    snapshots = world(
        endpoint("x", parameters=("service_tier",)), prices={"x": msgspec.structs.replace(card(1_000), tiers=(flex,))}
    )
    for most, expected in ((999, {"x": "MAX_PRICE"}), (1_000, {})):
        wish = {"max_price": MaxPrice(output_picousd=most)}
        assert left_out(plan(snapshots, call(service_tier="flex", prefer=wish))) == expected


def test_a_service_tier_without_a_price_is_not_asked_for() -> None:
    """A call in a service tier would be billed at another's price."""
    rows = (endpoint("x", parameters=("service_tier",)), endpoint("plain"))
    snapshots = world(*rows, prices={"x": TIERED})
    assert left_out(plan(snapshots, call(service_tier="priority"))) == {"x": "PRICE_UNKNOWN"}
    assert left_out(plan(snapshots, call(service_tier="flex"))) == {}
