"""Who calls, and who manages: from an API key to an account.

Whoever proves nothing is refused after one HMAC and one comparison, always in the same words, so that trying teaches nothing. A
key is good only while its organisation, its member and its workspace are. What was read of all these is believed for at most a
minute, so what is disabled or removed is refused within a minute everywhere. A store that does not answer refuses as
unavailable, never as an invalid key.

A text that was proven is known again by its fingerprint, for as long as what was read of its key is believed, and no longer
than its secret, its key and the peppers last. A fingerprint only ever lets in: all else is judged from the beginning.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Iterable

from msgspec import Struct

from junctor.domain.account import Actor, ApiKey, Caller, KeyScope, KeySecret, MemberRole
from junctor.domain.errors import ApiKeyInvalidError, LedgerUnavailableError, ScopeMissingError
from junctor.ledger import trying
from junctor.policy import api_keys
from junctor.policy.api_keys import ParsedKey
from junctor.ports.ambient import Clock, Dice
from junctor.ports.secrets import Peppers, Secrets
from junctor.ports.table import PARTITION, SORT, Item, Key, StoreError, Table
from junctor.records import accounts, keys

CACHE_MAX_S = 60.0
CACHE_ENTRIES_MAX = 50_000
_NOBODY = bytes(32)


class _Known(Struct, frozen=True):
    """What is believed of a key: itself, who calls with it, what its member may do, and whether what it belongs to stands."""

    key: ApiKey
    caller: Caller
    role: MemberRole
    stands: bool


class _Proof(Struct, frozen=True):
    """That a text opens a key: under these peppers, and until this instant if there is one."""

    peppers: Peppers
    until_ms: int | None


class _Entry(Struct, frozen=True):
    """What was read of a key, None if there is none, and the proofs of its live secrets by the fingerprints of their texts.

    A fingerprint may be looked up in time that varies with it, as no secret may be: whoever learned a whole one by that would
    know a digest of 32 random bytes, from which there is no way back to them. What proves nothing never adds one.
    """

    known: _Known | None
    until_s: float
    proofs: dict[bytes, _Proof]


class Admission:
    """Checks keys against the table, through a cache of at most `cache_s` seconds."""

    def __init__(self, table: Table, secrets: Secrets, clock: Clock, dice: Dice, cache_s: float = CACHE_MAX_S) -> None:
        self._table = table
        self._secrets = secrets
        self._clock = clock
        self._dice = dice
        self._cache_s = min(cache_s, CACHE_MAX_S)
        self._cache: OrderedDict[str, _Entry] = OrderedDict()
        self._reading: dict[str, asyncio.Task[_Known | None]] = {}

    async def admit(self, text: str | None, scope: KeyScope) -> Caller:
        """Tell who calls.

        Raises:
            ApiKeyInvalidError: the key is missing, malformed, unknown, disabled or expired, or what it belongs to is.
            ScopeMissingError: the key is valid, but not for this kind of call.
            LedgerUnavailableError: the key cannot be looked up at present.
        """
        return (await self._prove(text, (scope,))).caller

    def admit_known(self, text: str | None, scope: KeyScope) -> Caller | None:
        """Do as `admit` without waiting, for a key that was read not long ago; None if it has to be read. Raises as `admit`."""
        entry = self._cached(text[api_keys.LOOKUP]) if text else None
        if text is None or entry is None:
            return None
        known = entry.known
        fingerprint = api_keys.fingerprint(text)
        proof = entry.proofs.get(fingerprint)
        if known is None or proof is None or not self._holds(proof):
            parsed = api_keys.parse(text)
            if parsed is None:
                return None
            known = self._proven(known, parsed)
            entry.proofs[fingerprint] = self._proof(known.key, parsed.tag)
        return _entitled(known, (scope,)).caller

    async def admit_actor(self, text: str | None, scopes: frozenset[KeyScope]) -> Actor:
        """Tell who manages. Raises as `admit`."""
        known = await self._prove(text, scopes)
        key = known.key
        return Actor(key.account, key.lookup_id, key.scope, known.role, key.member, key.allowed_models, key.allowed_providers)

    async def _prove(self, text: str | None, scopes: Collection[KeyScope]) -> _Known:
        parsed = api_keys.parse(text) if text else None
        known = await self._find(parsed.lookup_id) if parsed else None
        return _entitled(self._proven(known, parsed), scopes)

    def _proven(self, known: _Known | None, parsed: ParsedKey | None) -> _Known:
        """Hold what was shown against what is known. Raises ApiKeyInvalidError."""
        secret = self._secret(known.key, parsed.tag) if known and parsed else None
        peppers = self._secrets.peppers()
        pepper = peppers.by_version.get(secret.pepper_version if secret else peppers.current, _NOBODY)
        digest = api_keys.digest(pepper, parsed.material if parsed else b"")
        proven = api_keys.same(digest, secret.digest if secret else _NOBODY)
        if known is None or secret is None or not proven or not self._live(known) or pepper is _NOBODY:
            raise ApiKeyInvalidError
        return known

    def _proof(self, key: ApiKey, tag: str) -> _Proof:
        """Note that a key was proven by its secret of this tag, and how long that holds."""
        ends = (key.expires_at_ms, *(secret.until_ms for secret in key.secrets if secret.tag == tag))
        return _Proof(self._secrets.peppers(), min((end for end in ends if end is not None), default=None))

    def _holds(self, proof: _Proof) -> bool:
        in_time = proof.until_ms is None or self._clock.now_ms() < proof.until_ms
        return in_time and proof.peppers is self._secrets.peppers()

    def _secret(self, key: ApiKey, tag: str) -> KeySecret | None:
        """Return the live secret of a key that a text may be, told by its checksum."""
        now_ms = self._clock.now_ms()
        for secret in key.secrets:
            if secret.tag == tag and (secret.until_ms is None or now_ms < secret.until_ms):
                return secret
        return None

    def _live(self, known: _Known) -> bool:
        key = known.key
        return known.stands and not key.disabled and (key.expires_at_ms is None or self._clock.now_ms() < key.expires_at_ms)

    def _cached(self, lookup_id: str) -> _Entry | None:
        """Return what is still believed of a key, None if it has to be read."""
        entry = self._cache.get(lookup_id)
        if entry is None or self._clock.monotonic_s() >= entry.until_s:
            return None
        self._cache.move_to_end(lookup_id)
        return entry

    async def _find(self, lookup_id: str) -> _Known | None:
        entry = self._cached(lookup_id)
        if entry is not None:
            return entry.known
        task = self._reading.get(lookup_id)
        if task is None:
            task = asyncio.create_task(self._read(lookup_id))
            self._reading[lookup_id] = task
            task.add_done_callback(lambda _: self._reading.pop(lookup_id, None))
        try:
            return await asyncio.shield(task)
        except StoreError as error:
            raise LedgerUnavailableError("API keys cannot be looked up at present.", 1.0) from error

    async def _read(self, lookup_id: str) -> _Known | None:
        asked_at_s = self._clock.monotonic_s()
        found = await trying.get(self._table, self._dice, keys.api_key(lookup_id))
        known = await self._known(accounts.api_key_of(found)) if found is not None else None
        self._cache[lookup_id] = _Entry(known, asked_at_s + self._cache_s, {})
        self._cache.move_to_end(lookup_id)
        if len(self._cache) > CACHE_ENTRIES_MAX:
            self._cache.popitem(last=False)
        return known

    async def _known(self, key: ApiKey) -> _Known:
        if key.scope is KeyScope.OPERATOR:
            return _Known(key, _caller(key), MemberRole.ADMIN, stands=key.account == "")
        wanted = (keys.account(key.account), *accounts.belongings(key))
        page = await trying.repeat(self._dice, lambda: self._table.batch_get(wanted))
        return _judged(key, page.items)


def _entitled(known: _Known, scopes: Collection[KeyScope]) -> _Known:
    """Let through who may make such a call. Raises ScopeMissingError."""
    if known.key.scope not in scopes:
        wanted = ", ".join(sorted(scope.value for scope in scopes))
        raise ScopeMissingError("This API key is not for this kind of call.", scope=wanted)
    return known


def _judged(key: ApiKey, items: Iterable[Item]) -> _Known:
    """Judge a key by the items of what it belongs to, of which any may be missing."""
    found = {Key(str(item[PARTITION]), str(item[SORT])): item for item in items}
    account = found.get(keys.account(key.account))
    stands = account is not None and not accounts.account_of(account).disabled
    role = MemberRole.ADMIN
    if key.member is not None:
        item = found.get(keys.member(key.account, key.member))
        member = accounts.member_of(item) if item is not None else None
        stands = stands and member is not None and not member.disabled
        role = member.role if member is not None else MemberRole.MEMBER
    if key.workspace is not None:
        item = found.get(keys.workspace(key.account, key.workspace))
        stands = stands and item is not None and accounts.workspace_of(item) is not None
    return _Known(key, _caller(key), role, stands)


def _caller(key: ApiKey) -> Caller:
    return Caller(key.account, key.lookup_id, key.workspace, key.member, key.allowed_models, key.allowed_providers, key.rates)
