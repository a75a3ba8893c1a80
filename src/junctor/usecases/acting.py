"""For which organisation a call acts, once it is known that there is one."""

from junctor.domain.account import Actor, KeyScope, MemberRole
from junctor.domain.errors import ResourceNotFoundError
from junctor.ledger import trying
from junctor.policy import access
from junctor.ports.ambient import Dice
from junctor.ports.table import Table
from junctor.records import keys


async def account_of(table: Table, dice: Dice, actor: Actor, organisation: str, roles: frozenset[MemberRole]) -> str:
    """Return the account that a call is about, as `access.account_for` does; one that an operator names is looked up.

    Raises:
        InvalidFieldError, ResourceNotFoundError, ScopeMissingError: as there, or there is none.
        StoreError: it cannot be looked up.
    """
    account = access.account_for(actor, organisation, roles)
    # Whoever has a key of an organisation's own was admitted because it is there.
    if actor.scope is KeyScope.OPERATOR and await trying.get(table, dice, keys.account(account)) is None:
        raise ResourceNotFoundError("organisation", organisation)
    return account
