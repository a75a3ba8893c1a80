"""What a dump of the table is worth to a thief: nothing, for keys of every kind, also of those that were rotated."""

from collections.abc import Iterator
from itertools import product

import pytest

from junctor.domain.account import KeyScope
from junctor.domain.errors import ApiKeyInvalidError
from junctor.policy import api_keys
from junctor.ports.table import Value
from junctor.records.tables import CORE
from junctor.usecases.api_keys import NewApiKey
from tests.support.stage import OPERATOR, Stage, on_stage

SCOPES = frozenset(KeyScope)


async def furnished(stage: Stage) -> list[str]:
    """Make a key of each scope, rotate the completion key twice, and return the texts that are good."""
    account = (await stage.organisations.create("An organisation")).id
    texts = []
    for scope in KeyScope:
        organisation = "" if scope is KeyScope.OPERATOR else account
        key, text = await stage.api_keys.create(OPERATOR, organisation, NewApiKey(name="k", scope=scope))
        if scope is KeyScope.COMPLETION:
            await stage.api_keys.rotate(OPERATOR, account, key.lookup_id, 3_600)
            _, before = await stage.api_keys.rotate(OPERATOR, account, key.lookup_id, 3_600)
            texts.append((await stage.api_keys.rotate(OPERATOR, account, key.lookup_id, 3_600))[1])
            text = before
        texts.append(text)
    return texts


def values(found: object) -> Iterator[str | bytes]:
    """Yield every text and every string of bytes in a value."""
    if isinstance(found, dict):
        for name, held in found.items():
            yield name
            yield from values(held)
    elif isinstance(found, (list, tuple)):
        for held in found:
            yield from values(held)
    elif isinstance(found, (str, bytes)):
        yield found


def attempts(dump: set[str | bytes], lookup_ids: list[str]) -> Iterator[str]:
    """Yield what a thief would try: all that he found as it is, in every writing, and in the place of a secret."""
    for found in dump:
        yield found if isinstance(found, str) else found.decode("latin-1")
    for found, lookup_id in product((found for found in dump if isinstance(found, bytes)), lookup_ids):
        yield api_keys.remint(lookup_id, found)
        yield api_keys.remint(lookup_id, found[::-1])
        yield f"{api_keys.PREFIX}{lookup_id}-{found.hex()}"


def test_a_dump_of_the_table_opens_nothing() -> None:
    """Whoever gets hold of a backup could call, and manage, in everybody's name."""

    async def scenario(stage: Stage) -> None:
        good = await furnished(stage)
        dump = set(values(stage.store.items(CORE)))
        digests = [found for found in dump if isinstance(found, bytes)]
        assert len(digests) == 4
        tried = 0
        for text in attempts(dump, [text[3:15] for text in good]):
            tried += 1
            with pytest.raises(ApiKeyInvalidError):
                await stage.admission.admit_actor(text, SCOPES)
        assert tried > 3 * len(digests) * 3
        for text in good:
            await stage.admission.admit_actor(text, SCOPES)

    on_stage(scenario)


def test_no_part_of_a_secret_is_in_the_table() -> None:
    """A secret could be put together, or guessed, from what is stored of it."""

    async def scenario(stage: Stage) -> None:
        texts = await furnished(stage)
        dump = "\n".join(found if isinstance(found, str) else found.hex() for found in values(stage.store.items(CORE)))
        for text in texts:
            secret = text[16:68]
            number = sum(api_keys.ALPHABET.index(char) << 5 * place for place, char in enumerate(reversed(secret)))
            assert text[3:15] in dump
            assert not any(secret[at : at + 8] in dump for at in range(len(secret) - 7))
            assert number.to_bytes(api_keys.SECRET_BYTES).hex() not in dump

    on_stage(scenario)


def test_a_digest_under_another_pepper_or_key_is_no_proof() -> None:
    """Somebody who may write to the table, and knows no pepper, could make himself a key."""

    async def scenario(stage: Stage) -> None:
        good = await furnished(stage)
        records = [item for item in stage.store.items(CORE) if item["sk"] == "KEY"]
        for item, pepper in product(records, (b"", bytes(32), b"guessed")):
            forged = api_keys.remint(str(item["lookup_id"]), b"\x07" * api_keys.SECRET_BYTES)
            secret: dict[str, Value] = {
                "tag": forged[-7:],
                "digest": api_keys.digest(pepper, forged.encode()),
                "pepper_version": 2,
            }
            stage.put({**item, "secrets": [secret]})
            stage.admission._cache.clear()
            with pytest.raises(ApiKeyInvalidError):
                await stage.admission.admit_actor(forged, SCOPES)
            stage.put(item)
        stage.admission._cache.clear()
        for text in good:
            await stage.admission.admit_actor(text, SCOPES)

    on_stage(scenario)
