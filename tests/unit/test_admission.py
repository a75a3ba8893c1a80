"""From an API key to an account: the same refusal for every cause, a cache that forgets in time, a store that may be down."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from junctor.adapters.tables.faults import CALM, Fault, FaultPlan
from junctor.domain.account import Account, Actor, ApiKey, Caller, KeyScope, KeySecret, Member, MemberRole, Workspace
from junctor.domain.errors import ApiKeyInvalidError, LedgerUnavailableError, ScopeMissingError
from junctor.ledger import trying
from junctor.policy import api_keys
from junctor.ports.secrets import Peppers
from junctor.ports.table import Found, Item, Key
from junctor.records import accounts, keys
from junctor.records.tables import CORE
from junctor.usecases import admit
from junctor.usecases.admit import CACHE_MAX_S, Admission
from tests.support.stage import Stage
from tests.support.virtual_loop import run_virtual
from tests.support.world import EPOCH_MS, SeededDice

DOWN = FaultPlan(chances=((Fault.UNAVAILABLE, 1.0),))
OTHER = api_keys.mint(b"\x01" * 8, b"\x02" * 32)
ORGANISATION = Account(id="ACCOUNT", name="n", created_at_ms=0)
MEMBER = Member(account="ACCOUNT", id="m", name="", role=MemberRole.BILLING, created_at_ms=0)
WORKSPACE = Workspace(account="ACCOUNT", id="w", name="", created_at_ms=0)
GONE = {accounts.GONE: True}


class Rig:
    """A key in a table, and the gate before it. `reads` counts what was looked up."""

    def __init__(self, world: Stage, cache_s: float = CACHE_MAX_S) -> None:
        self.world = world
        self.vault = world.vault
        self.reads = 0
        self._get = world.table.get
        world.table.get = self._counted  # type: ignore[method-assign]
        self.admission = Admission(world.table, self.vault, world.clock, SeededDice(), cache_s)
        self.key = ""

    async def make(self, scope: KeyScope = KeyScope.COMPLETION) -> "Rig":
        """Make the organisation and the key."""
        self.world.put(accounts.account_item(ORGANISATION))
        self.key = await self.world.accounts.create_api_key("ACCOUNT", "test", scope)
        self.reads = 0
        return self

    def change(self, **fields: object) -> None:
        """Change the key's record behind the cache's back."""
        place = keys.api_key(self.key[3:15])
        (item,) = (item for item in self.world.store.items(CORE) if item["pk"] == place.partition)
        key = msgspec.structs.replace(accounts.api_key_of(item), **fields)
        self.world.put(accounts.api_key_item(key))

    async def admit(self, text: str | None = None, scope: KeyScope = KeyScope.COMPLETION) -> Caller:
        """Show a key at the gate: the rig's own if none is given."""
        return await self.admission.admit(self.key if text is None else text, scope)

    async def refused(self, text: str | None = None) -> None:
        """Show a key that must not be let in."""
        with pytest.raises(ApiKeyInvalidError):
            await self.admit(text)

    async def _counted(self, key: Key, *, consistent: bool = True) -> Found:
        self.reads += 1
        return await self._get(key, consistent=consistent)


def run(scenario: Callable[[Rig], Awaitable[None]], cache_s: float = CACHE_MAX_S) -> None:
    """Play a scenario with a fresh key."""

    async def main() -> None:
        world = await Stage().open()
        await scenario(await Rig(world, cache_s).make())
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(main())


def test_a_key_opens_its_own_account() -> None:
    """Nobody could call, or one organisation would pay for another."""

    async def scenario(rig: Rig) -> None:
        assert await rig.admit() == Caller("ACCOUNT", rig.key[3:15])
        rig.world.put(accounts.workspace_item(WORKSPACE))
        rig.change(workspace="w")
        await asyncio.sleep(CACHE_MAX_S)
        assert await rig.admit() == Caller("ACCOUNT", rig.key[3:15], "w")

    run(scenario)


@pytest.mark.parametrize(
    "cause", ["none", "empty", "malformed", "unknown", "wrong secret", "disabled", "expired", "pepper gone", "bearer twice"]
)
def test_every_cause_is_refused_alike_after_one_hmac_and_one_comparison(cause: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody without a key could learn which ids exist, by the answer or by its time."""
    made: list[str] = []
    digest, same = api_keys.digest, api_keys.same

    def noted_digest(pepper: bytes, material: bytes) -> bytes:
        made.append("hmac")
        return digest(pepper, material)

    def noted_same(one: bytes, other: bytes) -> bool:
        made.append("compare")
        return same(one, other)

    monkeypatch.setattr(api_keys, "digest", noted_digest)
    monkeypatch.setattr(api_keys, "same", noted_same)

    async def scenario(rig: Rig) -> None:
        shown: dict[str, str | None] = {
            "none": None,
            "empty": "",
            "malformed": rig.key[:-1] + "!",
            "unknown": OTHER,
            "wrong secret": api_keys.mint(b"\x01" * 8, b"\x03" * 32),
            "bearer twice": f"Bearer {rig.key}",
        }
        if cause == "wrong secret":
            parsed = api_keys.parse(OTHER)
            assert parsed is not None
            place = keys.api_key(parsed.lookup_id)
            record = ApiKey(
                lookup_id=parsed.lookup_id,
                account="ACCOUNT",
                name="n",
                secrets=(
                    KeySecret(
                        tag=parsed.tag,
                        digest=digest(rig.vault.held.by_version[2], parsed.material),
                        pepper_version=2,
                    ),
                ),
                created_at_ms=0,
            )
            rig.world.store.put(CORE, place, accounts.api_key_item(record))
            assert await rig.admit(OTHER) == Caller("ACCOUNT", parsed.lookup_id)
        if cause == "disabled":
            rig.change(disabled=True)
        if cause == "expired":
            rig.change(expires_at_ms=rig.world.clock.now_ms())
        if cause == "pepper gone":
            rig.vault.held = Peppers(1, {1: b"1" * 32})
        made.clear()
        with pytest.raises(ApiKeyInvalidError) as caught:
            await rig.admission.admit(shown.get(cause, rig.key), KeyScope.COMPLETION)
        assert made == ["hmac", "compare"]
        assert (caught.value.message, caught.value.metadata) == (ApiKeyInvalidError().message, {})

    run(scenario)


def test_a_key_that_was_read_is_judged_without_waiting_as_strictly() -> None:
    """Whoever was let in once would stay in with a wrong secret, or after his key had ended; or each call would read again."""

    async def scenario(rig: Rig) -> None:
        def known(text: str | None, scope: KeyScope = KeyScope.COMPLETION) -> Caller | None:
            return rig.admission.admit_known(text, scope)

        assert known(rig.key) is known(None) is known("") is known(rig.key[:-1] + "!") is None
        rig.change(expires_at_ms=rig.world.clock.now_ms() + 1_000)
        caller, reads = await rig.admit(), rig.reads
        assert known(rig.key) == caller
        with pytest.raises(ScopeMissingError):
            known(rig.key, KeyScope.MANAGEMENT)
        with pytest.raises(ApiKeyInvalidError):
            known(api_keys.remint(rig.key[3:15], b"\x07" * 32))
        await asyncio.sleep(1)
        with pytest.raises(ApiKeyInvalidError):
            known(rig.key)
        await rig.refused(OTHER)
        with pytest.raises(ApiKeyInvalidError):
            known(OTHER)
        assert rig.reads == reads + 1
        await asyncio.sleep(CACHE_MAX_S)
        assert known(rig.key) is known(OTHER) is None

    run(scenario)


def test_a_text_is_proven_once_for_what_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call would pay for the proof of a key that was proven; or a wrong one be believed, or kept, after a right one."""
    made: list[bytes] = []
    digest = api_keys.digest

    def noted(pepper: bytes, material: bytes) -> bytes:
        made.append(material)
        return digest(pepper, material)

    monkeypatch.setattr(api_keys, "digest", noted)

    async def scenario(rig: Rig) -> None:
        caller = await rig.admit()
        made.clear()
        assert rig.admission.admit_known(rig.key, KeyScope.COMPLETION) == caller
        assert made == [rig.key.encode()]
        for _ in range(3):
            assert rig.admission.admit_known(rig.key, KeyScope.COMPLETION) == caller
            with pytest.raises(ScopeMissingError):
                rig.admission.admit_known(rig.key, KeyScope.MANAGEMENT)
        assert made == [rig.key.encode()]
        wrong = api_keys.remint(rig.key[3:15], b"\x07" * 32)
        for _ in range(3):
            with pytest.raises(ApiKeyInvalidError):
                rig.admission.admit_known(wrong, KeyScope.COMPLETION)
        assert made == [rig.key.encode(), *[wrong.encode()] * 3]
        (entry,) = rig.admission._cache.values()
        assert list(entry.proofs) == [api_keys.fingerprint(rig.key)]
        for malformed in (rig.key + "0", "x" + rig.key[1:], rig.key[:-1] + "\ud800", rig.key.upper()):
            assert rig.admission.admit_known(malformed, KeyScope.COMPLETION) is None
        await asyncio.sleep(CACHE_MAX_S)
        await rig.admit()
        made.clear()
        assert rig.admission.admit_known(rig.key, KeyScope.COMPLETION) == caller
        assert made == [rig.key.encode()]

    run(scenario)


@pytest.mark.parametrize("cause", ["secret ended", "expired", "pepper gone", "pepper changed", "disabled", "secret replaced"])
def test_what_was_proven_falls_as_soon_as_it_would_unproven(cause: str) -> None:
    """A thief who was let in once would stay in: after the key's end, its secret's, its pepper's, or that of its record."""

    async def scenario(rig: Rig) -> None:
        def ending(until_ms: int | None) -> KeySecret:
            return KeySecret(
                tag=rig.key[-7:], digest=api_keys.digest(b"2" * 32, rig.key.encode()), pepper_version=2, until_ms=until_ms
            )

        later_ms = EPOCH_MS + 9_000
        if cause == "secret ended":
            rig.change(secrets=(ending(later_ms),), expires_at_ms=later_ms + 1)
        if cause == "expired":
            rig.change(secrets=(ending(later_ms + 1),), expires_at_ms=later_ms)
        await rig.admit()
        for _ in range(2):
            assert rig.admission.admit_known(rig.key, KeyScope.COMPLETION) is not None
        await asyncio.sleep(9)
        if cause.startswith("pepper"):
            rig.vault.held = Peppers(3, {3: b"3" * 32} if cause == "pepper gone" else {2: b"3" * 32})
        if cause in {"disabled", "secret replaced"}:
            fresh = KeySecret(tag="0000000", digest=bytes(32), pepper_version=2)
            rig.change(**({"disabled": True} if cause == "disabled" else {"secrets": (fresh,)}))
            await asyncio.sleep(CACHE_MAX_S)
            assert rig.admission.admit_known(rig.key, KeyScope.COMPLETION) is None
            await rig.refused()
        for _ in range(2):
            with pytest.raises(ApiKeyInvalidError):
                rig.admission.admit_known(rig.key, KeyScope.COMPLETION)

    run(scenario)


def test_what_was_proven_outlives_a_pepper_that_is_none_of_its_own() -> None:
    """Each exchange of a pepper would lock those out who were let in before it."""

    async def scenario(rig: Rig) -> None:
        caller = await rig.admit()
        assert rig.admission.admit_known(rig.key, KeyScope.COMPLETION) == caller
        rig.vault.held = Peppers(3, {2: b"2" * 32, 3: b"3" * 32})
        assert rig.admission.admit_known(rig.key, KeyScope.COMPLETION) == caller

    run(scenario)


def test_a_key_of_another_kind_is_told_so() -> None:
    """A management key could run completions, with everything that it may see."""

    async def scenario(rig: Rig) -> None:
        with pytest.raises(ScopeMissingError):
            await rig.admit(scope=KeyScope.MANAGEMENT)
        rig.change(disabled=True)
        await asyncio.sleep(CACHE_MAX_S)
        with pytest.raises(ApiKeyInvalidError):
            await rig.admit(scope=KeyScope.MANAGEMENT)

    run(scenario)


@pytest.mark.parametrize(
    "item",
    [
        accounts.account_item(msgspec.structs.replace(ORGANISATION, disabled=True)),
        accounts.member_item(msgspec.structs.replace(MEMBER, disabled=True)),
        {**accounts.member_item(MEMBER), **GONE},
        {**accounts.workspace_item(WORKSPACE), **GONE},
    ],
    ids=["organisation disabled", "member disabled", "member removed", "workspace removed"],
)
@pytest.mark.parametrize("scope", [KeyScope.COMPLETION, KeyScope.MANAGEMENT])
def test_a_key_falls_with_what_it_belongs_to(item: Item, scope: KeyScope) -> None:
    """Whoever has left would go on calling, and an organisation that was closed go on spending."""

    async def scenario(rig: Rig) -> None:
        for good in (accounts.member_item(MEMBER), accounts.workspace_item(WORKSPACE)):
            rig.world.put(good)
        rig.change(member="m", workspace="w", scope=scope)
        await rig.admit(scope=scope)
        rig.world.put(item)
        await asyncio.sleep(CACHE_MAX_S - 1)
        await rig.admit(scope=scope)
        await asyncio.sleep(1)
        with pytest.raises(ApiKeyInvalidError):
            await rig.admit(scope=scope)
        with pytest.raises(ApiKeyInvalidError):
            await rig.admission.admit_actor(rig.key, frozenset({scope}))

    run(scenario)


@pytest.mark.parametrize(
    ("fields", "stands"),
    [
        ({"member": "x"}, False),
        ({"workspace": "x"}, False),
        ({"account": "x"}, False),
        ({"account": ""}, False),
        ({"scope": KeyScope.OPERATOR}, False),
        ({"scope": KeyScope.OPERATOR, "account": ""}, True),
    ],
)
def test_a_key_of_nothing_that_exists_opens_nothing(fields: dict[str, object], stands: bool) -> None:
    """A record that somebody half wrote would open more than he meant, or an operator be locked out."""

    async def scenario(rig: Rig) -> None:
        rig.change(**fields)
        if stands:
            await rig.admission.admit_actor(rig.key, frozenset(KeyScope))
        else:
            with pytest.raises(ApiKeyInvalidError):
                await rig.admission.admit_actor(rig.key, frozenset(KeyScope))

    run(scenario)


def test_who_manages_is_told_with_his_member_s_role() -> None:
    """A member with few rights would manage everything."""

    async def scenario(rig: Rig) -> None:
        management = frozenset({KeyScope.MANAGEMENT})
        with pytest.raises(ScopeMissingError):
            await rig.admission.admit_actor(rig.key, management)
        rig.change(scope=KeyScope.MANAGEMENT)
        await asyncio.sleep(CACHE_MAX_S)
        nobody_s = await rig.admission.admit_actor(rig.key, management)
        assert nobody_s == Actor("ACCOUNT", rig.key[3:15], KeyScope.MANAGEMENT, MemberRole.ADMIN)
        rig.world.put(accounts.member_item(MEMBER))
        rig.change(scope=KeyScope.MANAGEMENT, member="m")
        await asyncio.sleep(CACHE_MAX_S)
        his = await rig.admission.admit_actor(rig.key, management)
        assert his == Actor("ACCOUNT", rig.key[3:15], KeyScope.MANAGEMENT, MemberRole.BILLING, "m")
        assert await rig.admission.admit_actor(rig.key, frozenset(KeyScope)) == his
        with pytest.raises(ScopeMissingError):
            await rig.admission.admit_actor(rig.key, frozenset({KeyScope.OPERATOR, KeyScope.COMPLETION}))

    run(scenario)


def test_both_live_secrets_open_a_key_until_the_old_one_ends() -> None:
    """Rotating a key would break every caller who has the old secret, or leave it open for ever."""

    async def scenario(rig: Rig) -> None:
        text = api_keys.remint(rig.key[3:15], b"\x07" * 32)
        fresh = KeySecret(tag=text[-7:], digest=api_keys.digest(b"2" * 32, text.encode()), pepper_version=2)
        old = KeySecret(
            tag=rig.key[-7:], digest=api_keys.digest(b"2" * 32, rig.key.encode()), pepper_version=2, until_ms=EPOCH_MS + 9_000
        )
        rig.change(secrets=(fresh, old))
        assert await rig.admit(rig.key) == await rig.admit(text)
        await asyncio.sleep(9)
        await rig.admit(text)
        await rig.refused(rig.key)
        assert rig.reads == 1

    run(scenario)


def test_an_older_pepper_still_opens_its_keys() -> None:
    """Exchanging the pepper would lock every customer out."""

    async def scenario(rig: Rig) -> None:
        rig.vault.held = Peppers(3, {2: b"2" * 32, 3: b"3" * 32})
        assert (await rig.admit()).account == "ACCOUNT"

    run(scenario)


@pytest.mark.parametrize(("cache_s", "kept_s"), [(60.0, 60.0), (5.0, 5.0), (3_600.0, 60.0)])
def test_a_revoked_key_is_refused_within_a_minute(cache_s: float, kept_s: float) -> None:
    """A stolen key would go on working after it was revoked, for as long as somebody configured."""

    async def scenario(rig: Rig) -> None:
        await rig.admit()
        rig.change(disabled=True)
        await asyncio.sleep(kept_s - 0.01)
        await rig.admit()
        assert rig.reads == 1
        await asyncio.sleep(0.01)
        await rig.refused()
        assert rig.reads == 2

    run(scenario, cache_s)


def test_what_is_believed_is_counted_from_before_it_was_read() -> None:
    """A slow read would stretch the minute."""

    async def scenario(rig: Rig) -> None:
        rig.world.store.dice.plan = FaultPlan(latency_s=(10.0, 10.0))
        await rig.admit()
        rig.world.store.dice.plan = CALM
        rig.change(disabled=True)
        await asyncio.sleep(CACHE_MAX_S - 20.0)
        await rig.refused()

    run(scenario)


def test_expiry_is_looked_at_each_time() -> None:
    """A key would outlive its end by a minute."""

    async def scenario(rig: Rig) -> None:
        rig.change(expires_at_ms=EPOCH_MS + 10_000)
        await asyncio.sleep(9.5)
        await rig.admit()
        await asyncio.sleep(0.5)
        await rig.refused()
        assert rig.reads == 1

    run(scenario)


def test_a_crowd_with_one_key_reads_it_once() -> None:
    """A busy service's first second would be a thousand reads of one item."""

    async def scenario(rig: Rig) -> None:
        rig.world.store.dice.plan = FaultPlan(latency_s=(0.5, 0.5))
        callers = await asyncio.gather(*(rig.admit() for _ in range(200)))
        assert len({caller.account for caller in callers}) == 1
        assert rig.reads == 1

    run(scenario)


def test_one_who_leaves_does_not_take_the_read_with_him() -> None:
    """A caller who hangs up would have all others refused who wait for the same key."""

    async def scenario(rig: Rig) -> None:
        rig.world.store.dice.plan = FaultPlan(latency_s=(0.5, 0.5))
        first, second = asyncio.create_task(rig.admit()), asyncio.create_task(rig.admit())
        await asyncio.sleep(0.1)
        first.cancel()
        assert (await second).account == "ACCOUNT"
        await asyncio.gather(first, return_exceptions=True)
        assert rig.reads == 1

    run(scenario)


def test_unknown_ids_are_remembered_too() -> None:
    """Somebody who tries keys would cost a read each time."""

    async def scenario(rig: Rig) -> None:
        for _ in range(5):
            await rig.refused(OTHER)
        assert rig.reads == 1

    run(scenario)


def test_a_store_that_is_down_is_no_invalid_key() -> None:
    """Clients would throw away keys that are good, or be refused after the store has come back."""

    async def scenario(rig: Rig) -> None:
        rig.world.store.dice.plan = DOWN
        for _ in range(2):
            with pytest.raises(LedgerUnavailableError) as caught:
                await rig.admit()
            assert caught.value.retry_after_s == 1.0
        assert rig.reads == 2 * trying.TRIES
        rig.world.store.dice.plan = CALM
        assert (await rig.admit()).account == "ACCOUNT"
        rig.world.store.dice.plan = DOWN
        assert (await rig.admit()).account == "ACCOUNT"
        await asyncio.sleep(CACHE_MAX_S)
        with pytest.raises(LedgerUnavailableError):
            await rig.admit()

    run(scenario)


def test_the_cache_is_bounded_and_forgets_what_was_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who tries keys could fill the memory, or push out the keys of those who work."""
    monkeypatch.setattr(admit, "CACHE_ENTRIES_MAX", 5)

    async def scenario(rig: Rig) -> None:
        await rig.admit()
        for number in range(50):
            await rig.refused(api_keys.mint(number.to_bytes(8), bytes(32)))
            await rig.admit()
        assert rig.reads == 1 + 50
        assert len(rig.admission._cache) == 5
        await rig.refused(api_keys.mint((0).to_bytes(8), bytes(32)))
        assert rig.reads == 1 + 51

    run(scenario)
