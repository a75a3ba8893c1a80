"""API keys at the door: each that is no good is refused alike, and nothing can be learned by trying."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import grpc
import msgspec
import pytest

from junctor.adapters.system.ambient import SystemClock
from junctor.client import complete_request
from junctor.domain.account import ApiKey, KeyScope, KeySecret
from junctor.policy import api_keys
from junctor.ports.table import Equals, Set, UnavailableError
from junctor.records import accounts, keys
from junctor.records.tables import CORE
from junctor.v1.router_service_pb2 import CompleteRequest, CompleteResponse
from tests.support.faulty_table import break_admission
from tests.support.harness import PEPPERS, Router
from tests.support.pipeline import MODEL, PATIENCE_S, SERVICE, bearer, line_of, one_endpoint, raw_channel, refusal
from tests.support.scripted_upstream import chat_answer

ANSWER = chat_answer("Hi.")
Metadata = Sequence[tuple[str, str | bytes]]


async def _refused(router: Router, metadata: Metadata, method: str = "Complete") -> tuple[str, str, bytes]:
    """Return how a call with this metadata is refused: the status, its message and its details, byte by byte."""
    async with raw_channel(router) as channel:
        call = channel.unary_unary(
            f"/{SERVICE}/{method}",
            request_serializer=CompleteRequest.SerializeToString,
            response_deserializer=CompleteResponse.FromString,
        )(complete_request("Hi", model=MODEL), metadata=tuple(metadata), timeout=PATIENCE_S)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
    trailers = dict(caught.value.trailing_metadata() or ())
    details = trailers["grpc-status-details-bin"]
    assert isinstance(details, bytes)
    return caught.value.code().name, caught.value.details() or "", details


async def _add_key(router: Router, text: str, pepper_version: int = 1, **changes: object) -> None:
    """Write a valid key's record with changes."""
    parsed = api_keys.parse(text)
    assert parsed is not None
    key = ApiKey(
        lookup_id=parsed.lookup_id,
        account=router.account,
        name="test",
        secrets=(
            KeySecret(
                tag=parsed.tag,
                digest=api_keys.digest(PEPPERS.by_version[1], parsed.material),
                pepper_version=pepper_version,
            ),
        ),
        created_at_ms=SystemClock().now_ms(),
    )
    item = accounts.api_key_item(msgspec.structs.replace(key, **changes))
    await router.core.store.table(CORE).put_new(item)


def _minted(number: int) -> str:
    return api_keys.mint(number.to_bytes(api_keys.LOOKUP_BYTES), number.to_bytes(api_keys.SECRET_BYTES))


def _other_secret(text: str) -> str:
    """Return a well-formed key with the same public part and another secret."""
    lookup = text.removeprefix(api_keys.PREFIX).partition("-")[0]
    number = 0
    for character in lookup:
        number = number * 32 + api_keys.ALPHABET.index(character)
    other = api_keys.mint(number.to_bytes(api_keys.LOOKUP_BYTES), bytes(api_keys.SECRET_BYTES))
    assert other[: len(api_keys.PREFIX) + len(lookup)] == text[: len(api_keys.PREFIX) + len(lookup)]
    return other


async def _invalid(router: Router) -> dict[str, Metadata]:
    """Return metadata that must be refused, for each reason that there is."""
    past_ms = SystemClock().now_ms() - 1
    disabled, expired, old_pepper = _minted(1), _minted(2), _minted(3)
    await _add_key(router, disabled, disabled=True)
    await _add_key(router, expired, expires_at_ms=past_ms)
    await _add_key(router, old_pepper, pepper_version=7)
    return {
        "missing": (),
        "empty": bearer(""),
        "another scheme": (("authorization", f"Basic {router.api_key}"),),
        "bare": (("authorization", router.api_key),),
        "not a key": bearer("sk-proj-0123456789"),
        "mistyped": bearer(router.api_key[:-1] + ("0" if router.api_key[-1] != "0" else "1")),
        "cut": bearer(router.api_key[:-1]),
        "huge": bearer("jk-" + "0" * 4000),
        "upper case": bearer(router.api_key.upper()),
        "unknown": bearer(_minted(99)),
        "another secret": bearer(_other_secret(router.api_key)),
        "disabled": bearer(disabled),
        "expired": bearer(expired),
        "under a pepper that is gone": bearer(old_pepper),
    }


async def test_all_invalid_keys_are_refused_alike(tmp_path: Path) -> None:
    """Else trying tells which keys exist, which are only disabled, and which secrets are nearly right."""
    async with one_endpoint(tmp_path, ANSWER) as (router, upstream):
        answers = {why: await _refused(router, metadata) for why, metadata in (await _invalid(router)).items()}
        assert upstream.requests == []
    assert set(answers.values()) == {answers["unknown"]}
    code, message, details = answers["unknown"]
    assert code == "UNAUTHENTICATED"
    assert message == "The API key is missing or not valid."
    assert b"API_KEY_INVALID" in details


async def test_every_refusal_costs_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the time of a refusal tells an unknown key from one whose secret is wrong."""
    counts = {"digest": 0, "same": 0}
    digest, same = api_keys.digest, api_keys.same

    def counted_digest(pepper: bytes, material: bytes) -> bytes:
        counts["digest"] += 1
        return digest(pepper, material)

    def counted_same(one: bytes, other: bytes) -> bool:
        counts["same"] += 1
        return same(one, other)

    async with one_endpoint(tmp_path, ANSWER) as (router, _):
        invalid = await _invalid(router)
        monkeypatch.setattr(api_keys, "digest", counted_digest)
        monkeypatch.setattr(api_keys, "same", counted_same)
        for why, metadata in invalid.items():
            counts.update(digest=0, same=0)
            await _refused(router, metadata)
            assert counts == {"digest": 1, "same": 1}, why


@pytest.mark.parametrize("method", ["Complete", "Stream", "Explain", "Embed"])
async def test_every_method_asks_for_a_key(tmp_path: Path, method: str) -> None:
    """Else a method that somebody added can be called by anyone."""
    async with one_endpoint(tmp_path, ANSWER) as (router, _):
        assert (await _refused(router, (), method))[0] == "UNAUTHENTICATED"


async def test_management_key_on_the_data_plane(tmp_path: Path) -> None:
    """Else a key that was made to manage can spend, or its owner is told that it is not valid."""
    async with one_endpoint(tmp_path, ANSWER) as (router, upstream):
        key = await router.core.accounts.create_api_key(router.account, "manager", KeyScope.MANAGEMENT)
        async with router.client(key) as client:
            error = await refusal(client.complete("Hi", model=MODEL))
        line = await line_of(router)
        assert upstream.requests == []
    assert (error.code, error.reason, error.metadata) == ("PERMISSION_DENIED", "SCOPE_MISSING", {"scope": "completion"})
    assert line["status"] == "SCOPE_MISSING"


async def test_scheme_in_any_case_and_valid_key(tmp_path: Path) -> None:
    """Else a client that writes "bearer" is locked out."""
    async with one_endpoint(tmp_path, ANSWER) as (router, _), raw_channel(router) as channel:
        answer = await channel.unary_unary(
            f"/{SERVICE}/Complete",
            request_serializer=CompleteRequest.SerializeToString,
            response_deserializer=CompleteResponse.FromString,
        )(complete_request("Hi", model=MODEL), metadata=(("authorization", f"bEARER  {router.api_key} "),), timeout=PATIENCE_S)
    assert answer.generation_id


async def test_key_that_expires_later(tmp_path: Path) -> None:
    """Else a key is refused before its time."""
    async with one_endpoint(tmp_path, ANSWER) as (router, _):
        await _add_key(router, _minted(5), expires_at_ms=SystemClock().now_ms() + 60_000)
        async with router.client(_minted(5)) as client:
            assert (await client.complete("Hi", model=MODEL)).generation_id


async def test_disabled_key_is_refused_after_the_cache_time(tmp_path: Path) -> None:
    """Else a stolen key that was switched off goes on spending until a restart."""
    running = one_endpoint(tmp_path, ANSWER, settings={"JUNCTOR_KEY_CACHE_S": "0.5"})
    async with running as (router, _), router.client() as client:
        await client.complete("Hi", model=MODEL)
        parsed = api_keys.parse(router.api_key)
        assert parsed is not None
        place = keys.api_key(parsed.lookup_id)
        await router.core.store.table(CORE).update(place, (Equals("disabled", value=False),), (Set("disabled", value=True),))
        await asyncio.sleep(0.6)
        error = await refusal(client.complete("Hi", model=MODEL))
    assert error.reason == "API_KEY_INVALID"


async def test_key_is_read_once_for_many_calls(tmp_path: Path) -> None:
    """Else a busy key reads its record from the store for every call."""
    async with one_endpoint(tmp_path, ANSWER) as (router, _), router.client() as client:
        faulty = break_admission(router)
        await asyncio.gather(*(client.complete("Hi", model=MODEL) for _ in range(20)))
    assert faulty.calls == {"get": 1, "batch_get": 1}


async def test_store_that_cannot_be_read_is_not_an_invalid_key(tmp_path: Path) -> None:
    """Else an outage of the store tells every caller that his key was revoked."""
    async with one_endpoint(tmp_path, ANSWER) as (router, upstream), router.client() as client:
        faulty = break_admission(router)
        faulty.always("get", UnavailableError("canary-7f3a"))
        error = await refusal(client.complete("Hi", model=MODEL))
        assert upstream.requests == []
        assert (error.code, error.reason, error.retry_after_s) == ("UNAVAILABLE", "LEDGER_UNAVAILABLE", 1.0)
        assert "canary" not in str(error)
        faulty.heal()
        assert (await client.complete("Hi", model=MODEL)).generation_id
