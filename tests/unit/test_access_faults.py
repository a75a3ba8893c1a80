"""What manages accounts, over a store that loses, delays and repeats: done once or not at all, and not undone later."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Any

import msgspec
import pytest

from junctor.adapters.tables.faults import CALM, Fault, FaultPlan
from junctor.domain.account import KeyScope, MemberRole
from junctor.domain.errors import (
    ApiKeyInvalidError,
    ChangedMeanwhileError,
    JunctorError,
    OutcomeUnknownError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from junctor.ports.table import Done, Item, Operation, Refused, StoreError, UnknownOutcomeError
from junctor.records import accounts, keys
from junctor.records.tables import CORE
from junctor.usecases.api_keys import ApiKeyChange, NewApiKey
from junctor.usecases.members import MemberChange, WorkspaceChange
from junctor.usecases.organisations import OrganisationChange
from junctor.usecases.stored import told
from tests.support.stage import OPERATOR, Stage, manager, on_stage

FAULTS = [fault for fault in Fault if fault is not Fault.NONE]
CALLS_MAX = 6
"""More store calls than any of the operations makes when nothing goes wrong."""


class Scene:
    """An organisation with a member, a workspace and a key, and what may be done with them."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.account = self.key = ""

    async def open(self) -> "Scene":
        """Make them."""
        self.account = (await self.stage.accounts.create_organisation("o")).id
        self.actor = manager(self.account)
        await self.stage.members.create(self.actor, "", "m", "", MemberRole.MEMBER)
        await self.stage.members.create_workspace(self.actor, "", "w", "")
        made, _ = await self.stage.api_keys.create(self.actor, "", NewApiKey(name="k", workspace="w"))
        self.key = made.lookup_id
        return self

    async def do(self, what: str) -> Any:
        """Do one thing."""
        stage, actor = self.stage, self.actor
        works: dict[str, Callable[[], Awaitable[Any]]] = {
            "organisation made": lambda: stage.organisations.create("new"),
            "organisation changed": lambda: stage.organisations.update(
                OPERATOR, self.account, OrganisationChange(name="n", disabled=True)
            ),
            "member made": lambda: stage.members.create(actor, "", "new", "N", MemberRole.BILLING),
            "member changed": lambda: stage.members.update(actor, "", "m", MemberChange(name="n", role=MemberRole.ADMIN)),
            "member removed": lambda: stage.members.delete(actor, "", "m"),
            "workspace made": lambda: stage.members.create_workspace(actor, "", "new", "N"),
            "workspace changed": lambda: stage.members.update_workspace(actor, "", "w", WorkspaceChange(name="n")),
            "workspace removed": lambda: stage.members.delete_workspace(actor, "", "w"),
            "key made": lambda: stage.api_keys.create(actor, "", NewApiKey(name="new", member="m", workspace="w")),
            "key changed": lambda: stage.api_keys.update(actor, "", self.key, ApiKeyChange(member="m", workspace=None)),
            "key rotated": lambda: stage.api_keys.rotate(actor, "", self.key, 100),
            "key removed": lambda: stage.api_keys.delete(actor, "", self.key),
        }
        return await works[what]()

    def seen(self) -> list[tuple[str, ...]]:
        """Return what the store holds, without what is drawn or dated."""
        return sorted(_told(item) for item in self.stage.store.items(CORE))


WORKS = [
    "organisation made",
    "organisation changed",
    "member made",
    "member changed",
    "member removed",
    "workspace made",
    "workspace changed",
    "workspace removed",
    "key made",
    "key changed",
    "key rotated",
    "key removed",
]


def _told(item: Item) -> tuple[str, ...]:
    """Name an item: what it is, whether its key has one secret or two, and what people gave it."""
    partition, sort = str(item["pk"]), str(item["sk"])
    kind = "LISTED" if partition.startswith("ORGS#") else "ENTRY" if sort.startswith(keys.API_KEY_PREFIX) else sort
    secrets = item.get("secrets")
    number = len(secrets) if isinstance(secrets, list) else 0
    fields = ("name", "role", "disabled", "gone", "member", "workspace")
    return (kind, str(number), *(str(item.get(field)) for field in fields))


async def _calm(what: str) -> list[tuple[str, ...]]:
    scene = await Scene(await Stage().open()).open()
    await scene.do(what)
    return scene.seen()


def _forget_tokens(stage: Stage) -> None:
    """Let the store know no token again, as it may ten minutes later."""
    transact, tokens = stage.table.transact, count()

    async def forgetful(operations: Sequence[Operation], token: str) -> Done | Refused:
        return await transact(operations, f"{token[:40]}{next(tokens)}")

    stage.table.transact = forgetful  # type: ignore[method-assign]


@pytest.mark.parametrize("tokens", [True, False], ids=["tokens", "no tokens"])
@pytest.mark.parametrize("what", WORKS)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_one_fault_anywhere_changes_nothing_about_the_outcome(what: str, fault: Fault, tokens: bool) -> None:
    """A lost answer would be told as a failure, or leave two members, keys or secrets behind where one was asked for."""

    async def scenario(_: Stage) -> None:
        wanted = await _calm(what)
        for place in range(CALLS_MAX):
            scene = await Scene(await Stage(place).open()).open()
            if not tokens:
                _forget_tokens(scene.stage)
            scene.stage.store.dice.inject(*[Fault.NONE] * place, fault)
            await scene.do(what)
            await asyncio.sleep(100)
            assert scene.seen() == wanted, place

    on_stage(scenario)


@pytest.mark.parametrize("what", WORKS)
def test_what_cannot_be_told_is_not_told(what: str) -> None:
    """An administrator would believe that a key is revoked which is not, or share a key that opens nothing."""

    async def scenario(stage: Stage) -> None:
        scene = await Scene(stage).open()
        before = scene.seen()
        for fault, expected in ((Fault.UNAVAILABLE, StoreError), (Fault.DROPPED, UnknownOutcomeError)):
            stage.store.dice.plan = FaultPlan(chances=((fault, 1.0),))
            with pytest.raises((expected, JunctorError)) as caught:
                await told(_after_reads(scene, what, fault))
            assert not isinstance(caught.value, ResourceExistsError | ResourceNotFoundError | ChangedMeanwhileError)
            stage.store.dice.plan = CALM
            await asyncio.sleep(100)
            assert scene.seen() == before

    on_stage(scenario)


async def _after_reads(scene: Scene, what: str, fault: Fault) -> None:
    """Do something whose reads go well, and whose writes meet the fault."""
    table = scene.stage.table
    dice = scene.stage.store.dice
    plan, read = dice.plan, table.get

    async def calm_get(*args: Any, **more: Any) -> Any:
        dice.plan = CALM
        try:
            return await read(*args, **more)
        finally:
            dice.plan = plan

    table.get = calm_get  # type: ignore[method-assign]
    try:
        await scene.do(what)
    finally:
        table.get = read  # type: ignore[method-assign]
        assert fault is not Fault.NONE


def test_a_change_that_lands_late_undoes_nothing() -> None:
    """A key that was disabled meanwhile would open again a minute later."""

    async def scenario(stage: Stage) -> None:
        scene = await Scene(stage).open()
        for number in range(20):
            stage.store.dice.inject(Fault.NONE, Fault.DELAYED)
            name = f"n{number}"
            await stage.api_keys.update(scene.actor, "", scene.key, ApiKeyChange(name=name, disabled=False))
            await stage.api_keys.update(scene.actor, "", scene.key, ApiKeyChange(disabled=True))
            await asyncio.sleep(100)
            found = await stage.api_keys.get(scene.actor, "", scene.key)
            assert (found.name, found.disabled) == (name, True)

    on_stage(scenario)


def test_a_removed_member_stays_removed_when_an_older_change_lands() -> None:
    """Somebody who has left would be a member again."""

    async def scenario(stage: Stage) -> None:
        scene = await Scene(stage).open()
        stage.store.dice.inject(Fault.NONE, Fault.DELAYED)
        await stage.members.update(scene.actor, "", "m", MemberChange(role=MemberRole.ADMIN))
        await stage.members.delete(scene.actor, "", "m")
        await asyncio.sleep(100)
        assert (await stage.members.list(scene.actor, "", 10, ""))[0] == ()

    on_stage(scenario)


def test_a_change_that_was_read_before_a_removal_does_not_land_after_it() -> None:
    """The name of somebody who was removed would come back into the store."""

    async def scenario(stage: Stage) -> None:
        scene = await Scene(stage).open()
        members, _ = await stage.members.list(scene.actor, "", 10, "")
        workspaces, _ = await stage.members.list_workspaces(scene.actor, "", 10, "")
        await stage.members.delete(scene.actor, "", "m")
        await stage.members.delete_workspace(scene.actor, "", "w")
        late = [accounts.change(member, msgspec.structs.replace(member, name="late")) for member in members]
        late += [accounts.change(label, msgspec.structs.replace(label, name="late")) for label in workspaces]
        assert len(late) == 2
        for write in late:
            assert isinstance(await stage.table.update(write.key, write.conditions, write.changes), Refused)

    on_stage(scenario)


def test_a_change_of_nothing_writes_nothing() -> None:
    """Saying the same again would cost a write, and refuse those who change something at that time."""

    async def scenario(stage: Stage) -> None:
        scene = await Scene(stage).open()
        before = await stage.api_keys.get(scene.actor, "", scene.key)
        assert await stage.api_keys.update(scene.actor, "", scene.key, ApiKeyChange(name=before.name, disabled=False)) == before

    on_stage(scenario)


def test_changes_at_one_time_all_take_effect_or_say_that_they_did_not() -> None:
    """One administrator's change would silently undo another's."""

    async def scenario(stage: Stage) -> None:
        scene = await Scene(stage).open()
        stage.store.dice.plan = FaultPlan(latency_s=(0.001, 0.02), chances=((Fault.REPLY_LOST, 0.2), (Fault.DUPLICATED, 0.1)))
        changes = {
            "name": ApiKeyChange(name="x"),
            "disabled": ApiKeyChange(disabled=True),
            "member": ApiKeyChange(member="m"),
            "workspace": ApiKeyChange(workspace=None),
            "allowed_models": ApiKeyChange(allowed_models=("a/b",)),
        }
        works = (stage.api_keys.update(scene.actor, "", scene.key, change) for change in changes.values())
        answers = await asyncio.gather(*works, return_exceptions=True)
        stage.store.dice.plan = CALM
        found = await stage.api_keys.get(scene.actor, "", scene.key)
        for (field, change), answer in zip(changes.items(), answers, strict=True):
            assert not isinstance(answer, BaseException) or isinstance(answer, ChangedMeanwhileError | StoreError)
            if not isinstance(answer, BaseException):
                assert getattr(found, field) == getattr(change, field)
        assert sum(not isinstance(answer, BaseException) for answer in answers) >= 1

    for seed in range(10):
        on_stage(scenario, seed)


def test_every_secret_that_was_handed_out_opens_unless_two_newer_ones_were() -> None:
    """Two administrators who rotate at one time would lock callers out with keys that were just handed to them."""

    async def scenario(stage: Stage) -> None:
        scene = await Scene(stage).open()
        stage.store.dice.plan = FaultPlan(latency_s=(0.001, 0.02), chances=((Fault.REPLY_LOST, 0.3),))
        answers = await asyncio.gather(*(stage.api_keys.rotate(scene.actor, "", scene.key, 1_000) for _ in range(2)))
        stage.store.dice.plan = CALM
        await asyncio.sleep(60)
        for _, text in answers:
            await stage.admission.admit(text, KeyScope.COMPLETION)
        _, newest = await stage.api_keys.rotate(scene.actor, "", scene.key, 0)
        await asyncio.sleep(60)
        for _, text in answers:
            with pytest.raises(ApiKeyInvalidError):
                await stage.admission.admit(text, KeyScope.COMPLETION)
        await stage.admission.admit(newest, KeyScope.COMPLETION)

    for seed in range(10):
        on_stage(scenario, seed)


def test_a_rotation_that_is_repeated_keeps_the_secret_before_it() -> None:
    """A lost answer would lock out every caller at once, as the new secret would be its own predecessor."""

    async def scenario(stage: Stage) -> None:
        scene = await Scene(stage).open()
        made, first = await stage.api_keys.create(scene.actor, "", NewApiKey(name="k"))
        _forget_tokens(stage)
        stage.store.dice.inject(Fault.NONE, Fault.NONE, Fault.REPLY_LOST)
        _, second = await stage.api_keys.rotate(scene.actor, "", made.lookup_id, 100)
        for text in (first, second):
            await stage.admission.admit(text, KeyScope.COMPLETION)

    on_stage(scenario)


def test_two_who_make_the_same_member_are_told_apart() -> None:
    """Both would believe that the member has the role that they gave him."""

    async def scenario(stage: Stage) -> None:
        scene = await Scene(stage).open()
        roles = (MemberRole.ADMIN, MemberRole.MEMBER)
        works = (stage.members.create(scene.actor, "", "new", "", role) for role in roles)
        answers = await asyncio.gather(*works, return_exceptions=True)
        assert [type(answer).__name__ for answer in answers].count("ResourceExistsError") == 1

    on_stage(scenario)


def test_what_the_store_does_not_tell_is_told_as_such() -> None:
    """A caller would take an outage for a success, or try a change again that must not be made twice."""

    async def fails(error: Exception) -> None:
        raise error

    async def scenario(_: Stage) -> None:
        with pytest.raises(OutcomeUnknownError) as caught:
            await told(fails(UnknownOutcomeError("canary")))
        assert "canary" not in str(caught.value)
        with pytest.raises(ZeroDivisionError):
            await told(fails(ZeroDivisionError()))

    on_stage(scenario)
