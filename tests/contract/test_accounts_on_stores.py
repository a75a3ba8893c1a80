"""What manages accounts, on every store: the same from a member to a key with all that it may have, there and back."""

from dataclasses import dataclass

import pytest

from junctor.adapters.system.ambient import SystemClock, SystemDice
from junctor.domain.account import Actor, KeyScope, MemberRole, RecurringGrant
from junctor.domain.account import GrantKind as Kind
from junctor.domain.credits import Interval
from junctor.domain.errors import InvalidFieldError, ResourceExistsError, ResourceNotFoundError
from junctor.domain.rates import Rates
from junctor.ports.table import Table
from junctor.usecases.admit import Admission
from junctor.usecases.api_keys import ApiKeyChange, ApiKeys, NewApiKey
from junctor.usecases.members import MemberChange, Members
from junctor.usecases.organisations import OrganisationChange, Organisations
from tests.support import tables
from tests.support.stage import OPERATOR, Vault, manager

store = tables.store
table = tables.table


@dataclass(frozen=True)
class Parts:
    """What manages accounts, over one table; its items need no more of it than that it has keys."""

    organisations: Organisations
    members: Members
    api_keys: ApiKeys
    admission: Admission


@pytest.fixture
def parts(table: Table) -> Parts:
    """Return the parts over each store's sample table in turn."""
    vault, clock, dice = Vault(), SystemClock(), SystemDice()
    return Parts(
        Organisations(table, clock, dice),
        Members(table, clock, dice),
        ApiKeys(table, vault, clock, dice),
        Admission(table, vault, clock, dice, cache_s=0),
    )


async def test_an_organisation_with_all_that_it_may_have(parts: Parts) -> None:
    """What was set would come back changed, or not at all, where the table is another one than in the tests."""
    organisations, members = parts.organisations, parts.members
    account = (await organisations.create("Büro")).id
    grant = RecurringGrant(kind=Kind.METERED, amount_nanousd=2**63 - 1, interval=Interval.WEEK)
    change = OrganisationChange(recurring_grant=grant, low_balance_nanousd=0)
    assert (await organisations.update(OPERATOR, account, change)).recurring_grant == grant
    lifted = await organisations.update(OPERATOR, account, OrganisationChange(recurring_grant=None))
    assert lifted == (await organisations.list(10, ""))[0][0] == await organisations.get(manager(account), "")
    assert (lifted.recurring_grant, lifted.low_balance_nanousd, lifted.ver) == (None, 0, 2)

    actor = manager(account)
    for member in ("ada", "bob"):
        await members.create(actor, "", member, "", MemberRole.MEMBER)
    changed = await members.update(actor, "", "bob", MemberChange(name="B", disabled=True))
    page, token = await members.list(actor, "", 1, "")
    assert [member.id for member in page] == ["ada"]
    assert (await members.list(actor, "", 1, token))[0] == (changed,)
    await members.delete(actor, "", "bob")
    with pytest.raises(ResourceExistsError):
        await members.create(actor, "", "bob", "", MemberRole.MEMBER)
    with pytest.raises(InvalidFieldError):
        await members.list(actor, "", 1, "nonsense")


async def test_a_key_with_all_that_it_may_have(parts: Parts) -> None:
    """A bound of a key would be lost, or its new secret not be stored, where the table is another one than in the tests."""
    api_keys, admission = parts.api_keys, parts.admission
    account = (await parts.organisations.create("o")).id
    actor: Actor = manager(account)
    await parts.members.create(actor, "", "ada", "", MemberRole.MEMBER)
    await parts.members.create_workspace(actor, "", "ci", "")
    wanted = NewApiKey(
        name="k", workspace="ci", member="ada", allowed_models=(), allowed_providers=("p", "q"), rates=Rates(concurrency=2)
    )
    made, first = await api_keys.create(actor, "", wanted)
    assert await api_keys.get(actor, "", made.lookup_id) == made
    caller = await admission.admit(first, KeyScope.COMPLETION)
    assert (caller.workspace, caller.member, caller.allowed_models, caller.rates) == ("ci", "ada", (), wanted.rates)
    change = ApiKeyChange(name="", workspace=None, allowed_models=("a/b",), allowed_providers=None, rates=Rates())
    changed = await api_keys.update(actor, "", made.lookup_id, change)
    assert await api_keys.get(actor, "", made.lookup_id) == changed
    rotated, second = await api_keys.rotate(actor, "", made.lookup_id, 100)
    assert (await api_keys.list(actor, "", 10, ""))[0] == (rotated,)
    for text in (first, second):
        assert (await admission.admit(text, KeyScope.COMPLETION)).allowed_models == ("a/b",)
    with pytest.raises(ResourceNotFoundError):
        await api_keys.update(actor, "", made.lookup_id, ApiKeyChange(member="nobody"))
    await api_keys.delete(actor, "", made.lookup_id)
    assert await api_keys.list(actor, "", 10, "") == ((), "")
