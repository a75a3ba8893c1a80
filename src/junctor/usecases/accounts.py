"""Organisations and their API keys: the beginning of an installation. The secret of a key exists only in the return value."""

from junctor.domain.account import Account, ApiKey, KeyScope, KeySecret
from junctor.policy import api_keys
from junctor.ports.ambient import Clock, Dice
from junctor.ports.secrets import Secrets
from junctor.ports.table import Done, Table
from junctor.records import accounts, ids


class Accounts:
    """Makes organisations and keys. Every method may raise StoreError."""

    def __init__(self, table: Table, secrets: Secrets, clock: Clock, dice: Dice) -> None:
        self._table = table
        self._secrets = secrets
        self._clock = clock
        self._dice = dice

    async def create_organisation(self, name: str) -> Account:
        """Make an organisation under a new id."""
        now_ms = self._clock.now_ms()
        account = Account(id=ids.ulid(now_ms, self._dice.draw(ids.ULID_RANDOM_BYTES)), name=name, created_at_ms=now_ms)
        await self._table.put_new(accounts.account_item(account))
        return account

    async def create_api_key(self, account: str, name: str, scope: KeyScope = KeyScope.COMPLETION) -> str:
        """Make an API key and return it; it cannot be shown again."""
        peppers = self._secrets.peppers()
        while True:
            text = api_keys.mint(self._dice.draw(api_keys.LOOKUP_BYTES), self._dice.draw(api_keys.SECRET_BYTES))
            parsed = api_keys.parse(text)
            assert parsed is not None  # noqa: S101 - a key that was just minted is well formed
            secret = KeySecret(
                tag=parsed.tag,
                digest=api_keys.digest(peppers.by_version[peppers.current], parsed.material),
                pepper_version=peppers.current,
            )
            key = ApiKey(
                lookup_id=parsed.lookup_id,
                account=account,
                name=name,
                secrets=(secret,),
                created_at_ms=self._clock.now_ms(),
                scope=scope,
            )
            answer = await self._table.put_new(accounts.api_key_item(key))
            if isinstance(answer, Done) or (answer.old is not None and accounts.api_key_of(answer.old) == key):
                return text
