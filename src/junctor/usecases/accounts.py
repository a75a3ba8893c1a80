"""The beginning of an installation, before there is any key: whoever runs this process acts as an operator."""

from junctor.domain.account import Account, Actor, KeyScope
from junctor.ports.ambient import Clock, Dice
from junctor.ports.secrets import Secrets
from junctor.ports.table import Table
from junctor.usecases.api_keys import ApiKeys, NewApiKey
from junctor.usecases.organisations import Organisations

HOUSE = Actor(account="", key="", scope=KeyScope.OPERATOR)
"""Who acts when there is no key: the process itself."""


class Accounts:
    """Makes organisations and keys. Every method may raise StoreError."""

    def __init__(self, table: Table, secrets: Secrets, clock: Clock, dice: Dice) -> None:
        self._organisations = Organisations(table, clock, dice)
        self._api_keys = ApiKeys(table, secrets, clock, dice)

    async def create_organisation(self, name: str) -> Account:
        """Make an organisation under a new id."""
        return await self._organisations.create(name)

    async def create_api_key(self, account: str, name: str, scope: KeyScope = KeyScope.COMPLETION) -> str:
        """Make an API key and return it; it cannot be shown again. An operator's key has an empty account.

        Raises ResourceNotFoundError if there is no such organisation.
        """
        _, text = await self._api_keys.create(HOUSE, account, NewApiKey(name=name, scope=scope))
        return text
