"""Who calls: from an API key to an account.

Every refusal runs one HMAC and one comparison and says the same, so that nothing can be learned by trying. What was read of a
key is believed for at most a minute, so a disabled key is refused within a minute everywhere. A store that does not answer
refuses as unavailable, never as an invalid key.
"""

import asyncio
from collections import OrderedDict

from msgspec import Struct

from junctor.domain.account import ApiKey, Caller, KeyScope, KeySecret
from junctor.domain.errors import ApiKeyInvalidError, LedgerUnavailableError, ScopeMissingError
from junctor.policy import api_keys
from junctor.ports.ambient import Clock
from junctor.ports.secrets import Secrets
from junctor.ports.table import StoreError, Table
from junctor.records import accounts, keys

CACHE_MAX_S = 60.0
CACHE_ENTRIES_MAX = 50_000
_NOBODY = bytes(32)


class _Entry(Struct, frozen=True):
    key: ApiKey | None
    until_s: float


class Admission:
    """Checks keys against the table, through a cache of at most `cache_s` seconds."""

    def __init__(self, table: Table, secrets: Secrets, clock: Clock, cache_s: float = CACHE_MAX_S) -> None:
        self._table = table
        self._secrets = secrets
        self._clock = clock
        self._cache_s = min(cache_s, CACHE_MAX_S)
        self._cache: OrderedDict[str, _Entry] = OrderedDict()
        self._reading: dict[str, asyncio.Task[ApiKey | None]] = {}

    async def admit(self, text: str | None, scope: KeyScope) -> Caller:
        """Tell who calls.

        Raises:
            ApiKeyInvalidError: the key is missing, malformed, unknown, disabled or expired.
            ScopeMissingError: the key is valid, but not for this kind of call.
            LedgerUnavailableError: the key cannot be looked up at present.
        """
        parsed = api_keys.parse(text) if text else None
        key = await self._find(parsed.lookup_id) if parsed else None
        secret = self._secret(key, parsed.tag) if key and parsed else None
        peppers = self._secrets.peppers()
        pepper = peppers.by_version.get(secret.pepper_version if secret else peppers.current, _NOBODY)
        digest = api_keys.digest(pepper, parsed.material if parsed else b"")
        proven = api_keys.same(digest, secret.digest if secret else _NOBODY)
        if key is None or secret is None or not proven or not self._live(key) or pepper is _NOBODY:
            raise ApiKeyInvalidError
        if key.scope is not scope:
            raise ScopeMissingError("This API key is not for this kind of call.", scope=scope.value)
        return Caller(
            key.account, key.lookup_id, key.workspace, key.member, key.allowed_models, key.allowed_providers, key.rates
        )

    def _secret(self, key: ApiKey, tag: str) -> KeySecret | None:
        """Return the live secret of a key that a text may be, told by its checksum."""
        now_ms = self._clock.now_ms()
        live = (secret for secret in key.secrets if secret.until_ms is None or now_ms < secret.until_ms)
        return next((secret for secret in live if secret.tag == tag), None)

    def _live(self, key: ApiKey) -> bool:
        return not key.disabled and (key.expires_at_ms is None or self._clock.now_ms() < key.expires_at_ms)

    async def _find(self, lookup_id: str) -> ApiKey | None:
        entry = self._cache.get(lookup_id)
        if entry is not None and self._clock.monotonic_s() < entry.until_s:
            self._cache.move_to_end(lookup_id)
            return entry.key
        task = self._reading.get(lookup_id)
        if task is None:
            task = asyncio.create_task(self._read(lookup_id))
            self._reading[lookup_id] = task
            task.add_done_callback(lambda _: self._reading.pop(lookup_id, None))
        try:
            return await asyncio.shield(task)
        except StoreError as error:
            raise LedgerUnavailableError("API keys cannot be looked up at present.", 1.0) from error

    async def _read(self, lookup_id: str) -> ApiKey | None:
        asked_at_s = self._clock.monotonic_s()
        found = await self._table.get(keys.api_key(lookup_id))
        key = accounts.api_key_of(found.item) if found.item is not None else None
        self._cache[lookup_id] = _Entry(key, asked_at_s + self._cache_s)
        self._cache.move_to_end(lookup_id)
        if len(self._cache) > CACHE_ENTRIES_MAX:
            self._cache.popitem(last=False)
        return key
