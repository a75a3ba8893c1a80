"""AccountService over a real connection: who may do what, for whom, and what is told to the others."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from google.protobuf.message import Message

from junctor.client import JunctorRpcError
from junctor.domain.account import KeyScope
from junctor.domain.errors import ApiKeyInvalidError, ScopeMissingError
from junctor.ports.table import UnavailableError, UnknownOutcomeError
from junctor.records import accounts
from junctor.records.tables import CORE
from junctor.v1 import account_service_pb2 as pb
from tests.support.control_plane import SERVICE, ControlPlane, running_control_plane
from tests.support.requests import UNKNOWN_FIELD
from tests.support.scripted_upstream import PATIENCE_S

COMPLETION, MANAGEMENT, OPERATOR = pb.API_KEY_SCOPE_COMPLETION, pb.API_KEY_SCOPE_MANAGEMENT, pb.API_KEY_SCOPE_OPERATOR
ADMIN, BILLING, MEMBER = pb.MEMBER_ROLE_ADMIN, pb.MEMBER_ROLE_BILLING, pb.MEMBER_ROLE_MEMBER
DAY_S = 86_400


class House:
    """A control plane with two organisations; the first has a member of each role, with a management key each."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        self.ask, self.refused = plane.ask, plane.refused
        self.operator = plane.operator
        self.mine = self.other = ""
        self.manager = self.stranger = ""
        self.admin = self.billing = self.ada = ""

    async def furnish(self) -> "House":
        """Make them."""
        self.mine, self.other = [
            (await self.ask(self.operator, pb.CreateOrganisationRequest(name=name))).organisation.id
            for name in ("Mine", "Other")
        ]
        for member, role in (("boss", ADMIN), ("bill", BILLING), ("ada", MEMBER), ("bob", MEMBER)):
            await self.ask(self.operator, pb.CreateMemberRequest(organisation=self.mine, member=member, role=role))
        _, self.manager = await self.plane.make_key(self.mine, MANAGEMENT)
        _, self.stranger = await self.plane.make_key(self.other, MANAGEMENT)
        _, self.admin = await self.plane.make_key(self.mine, MANAGEMENT, "boss")
        _, self.billing = await self.plane.make_key(self.mine, MANAGEMENT, "bill")
        _, self.ada = await self.plane.make_key(self.mine, MANAGEMENT, "ada")
        return self


@pytest.fixture
async def house() -> AsyncIterator[House]:
    """Return a furnished house."""
    async with running_control_plane() as plane:
        yield await House(plane).furnish()


async def test_an_organisation_from_end_to_end(house: House) -> None:
    """An operator could not set up, see or close an organisation."""
    ask, operator = house.ask, house.operator
    found = (await ask(operator, pb.GetOrganisationRequest(organisation=house.mine))).organisation
    assert (found.id, found.name, found.disabled) == (house.mine, "Mine", False)
    assert not found.HasField("recurring_grant")
    grant = pb.RecurringGrant(kind=pb.GRANT_KIND_METERED, amount_nanousd=7, interval=pb.INTERVAL_WEEK)
    change = pb.UpdateOrganisationRequest(
        organisation=house.mine, name="Ours", recurring_grant=grant, low_balance_nanousd=5, disabled=False
    )
    changed = (await ask(operator, change)).organisation
    assert (changed.name, changed.recurring_grant, changed.low_balance_nanousd) == ("Ours", grant, 5)
    ended = pb.UpdateOrganisationRequest(organisation=house.mine, recurring_grant=pb.RecurringGrant(), low_balance_nanousd=0)
    found = (await ask(operator, ended)).organisation
    assert (found.name, found.HasField("recurring_grant"), found.HasField("low_balance_nanousd")) == ("Ours", False, False)
    assert (await ask(house.manager, pb.GetOrganisationRequest())).organisation == found


async def test_organisations_are_listed_page_by_page(house: House) -> None:
    """An operator would miss organisations, or see one twice."""
    made = {house.mine, house.other}
    for number in range(9):
        answer = await house.ask(house.operator, pb.CreateOrganisationRequest(name=f"n{number}"))
        made.add(answer.organisation.id)
    found: list[str] = []
    token = ""
    for _ in range(40):
        page = await house.ask(house.operator, pb.ListOrganisationsRequest(page_size=2, page_token=token))
        assert len(page.organisations) <= 2
        found += [entry.id for entry in page.organisations]
        token = page.next_page_token
        if not token:
            break
    assert sorted(found) == sorted(made)
    assert len((await house.ask(house.operator, pb.ListOrganisationsRequest())).organisations) == len(made)


async def test_a_disabled_organisation_s_keys_are_refused_within_a_minute(house: House) -> None:
    """An organisation that was closed would go on managing, and spending."""
    await house.ask(house.manager, pb.GetOrganisationRequest())
    await house.ask(house.operator, pb.UpdateOrganisationRequest(organisation=house.mine, disabled=True))
    house.plane.clock.ahead_s += 60
    error = await house.refused(house.manager, pb.GetOrganisationRequest())
    assert (error.code, error.reason) == ("UNAUTHENTICATED", "API_KEY_INVALID")
    await house.ask(house.operator, pb.UpdateOrganisationRequest(organisation=house.mine, disabled=False))
    house.plane.clock.ahead_s += 60
    await house.ask(house.manager, pb.GetOrganisationRequest())


async def test_members_and_workspaces_from_end_to_end(house: House) -> None:
    """An administrator could not say who belongs to his organisation."""
    ask, admin = house.ask, house.admin
    made = (await ask(admin, pb.CreateMemberRequest(member="eve_1", name="Eve", role=BILLING))).member
    assert (made.id, made.name, made.role, made.disabled) == ("eve_1", "Eve", BILLING, False)
    changed = (await ask(admin, pb.UpdateMemberRequest(member="eve_1", role=ADMIN, disabled=True))).member
    assert (changed.name, changed.role, changed.disabled) == ("Eve", ADMIN, True)
    listed = (await ask(admin, pb.ListMembersRequest())).members
    assert [entry.id for entry in listed] == ["ada", "bill", "bob", "boss", "eve_1"]
    await ask(admin, pb.DeleteMemberRequest(member="eve_1"))
    assert "eve_1" not in [entry.id for entry in (await ask(admin, pb.ListMembersRequest())).members]
    for request in (pb.DeleteMemberRequest(member="eve_1"), pb.UpdateMemberRequest(member="eve_1", name="x")):
        assert (await house.refused(admin, request)).reason == "RESOURCE_NOT_FOUND"

    label = (await ask(admin, pb.CreateWorkspaceRequest(workspace="ci", name="CI"))).workspace
    assert (label.id, label.name) == ("ci", "CI")
    assert (await ask(admin, pb.UpdateWorkspaceRequest(workspace="ci", name="Builds"))).workspace.name == "Builds"
    assert [entry.name for entry in (await ask(admin, pb.ListWorkspacesRequest())).workspaces] == ["Builds"]
    await ask(admin, pb.DeleteWorkspaceRequest(workspace="ci"))
    assert not (await ask(admin, pb.ListWorkspacesRequest())).workspaces
    assert (await house.refused(admin, pb.DeleteWorkspaceRequest(workspace="ci"))).code == "NOT_FOUND"


async def test_an_id_is_not_given_twice(house: House) -> None:
    """The keys of someone who has left would wake when his successor gets his id."""
    _, key = await house.plane.make_key(house.mine, COMPLETION, "bob")
    await house.ask(house.admin, pb.DeleteMemberRequest(member="bob"))
    for member in ("bob", "ada"):
        error = await house.refused(house.admin, pb.CreateMemberRequest(member=member, role=MEMBER))
        assert (error.code, error.reason) == ("ALREADY_EXISTS", "RESOURCE_EXISTS")
    with pytest.raises(ApiKeyInvalidError):
        await house.plane.admission.admit(key, KeyScope.COMPLETION)


async def test_an_api_key_from_end_to_end(house: House) -> None:
    """A key would be made with other bounds than were asked for, or could not be changed afterwards."""
    ask, admin = house.ask, house.admin
    await ask(admin, pb.CreateWorkspaceRequest(workspace="ci"))
    until_ms = house.plane.clock.now_ms() + 1_000_000
    wanted = pb.CreateApiKeyRequest(
        name="ci",
        scope=COMPLETION,
        expires_at_ms=until_ms,
        workspace="ci",
        member="ada",
        allowed_models=pb.AllowList(names=["openai/gpt-oss-120b", "openai/gpt-oss-120b", "lab/model:free"]),
        allowed_providers=pb.AllowList(),
        rates=pb.Rates(requests_per_min=60, concurrency=2),
    )
    answer = await ask(admin, wanted)
    made = answer.api_key
    assert answer.secret.startswith(f"jk-{made.id}-")
    assert (made.name, made.scope, made.expires_at_ms, made.workspace, made.member) == ("ci", COMPLETION, until_ms, "ci", "ada")
    assert list(made.allowed_models.names) == ["openai/gpt-oss-120b", "lab/model:free"]
    assert made.HasField("allowed_providers")
    assert not made.allowed_providers.names
    assert (made.rates, made.HasField("old_secret_until_ms")) == (wanted.rates, False)
    caller = await house.plane.admission.admit(answer.secret, KeyScope.COMPLETION)
    assert (caller.account, caller.member, caller.workspace, caller.allowed_providers) == (house.mine, "ada", "ci", ())
    assert caller.rates.requests_per_min == 60

    assert (await ask(admin, pb.GetApiKeyRequest(api_key=made.id))).api_key == made
    change = pb.UpdateApiKeyRequest(
        api_key=made.id,
        name="",
        disabled=True,
        expires_at_ms=0,
        workspace="",
        member="",
        rates=pb.Rates(),
        allow_all_models=True,
        allow_all_providers=True,
    )
    changed = (await ask(admin, change)).api_key
    assert changed == pb.ApiKey(id=made.id, scope=COMPLETION, created_at_ms=made.created_at_ms, disabled=True)
    assert (await ask(admin, pb.UpdateApiKeyRequest(api_key=made.id))).api_key == changed
    listed = (await ask(admin, pb.ListApiKeysRequest())).api_keys
    assert changed in listed
    await ask(admin, pb.DeleteApiKeyRequest(api_key=made.id))
    assert (await house.refused(admin, pb.GetApiKeyRequest(api_key=made.id))).reason == "RESOURCE_NOT_FOUND"
    assert changed not in (await ask(admin, pb.ListApiKeysRequest())).api_keys


async def test_keys_are_listed_page_by_page_in_order(house: House) -> None:
    """An administrator who looks for a leaked key would not find it."""
    for _ in range(5):
        await house.plane.make_key(house.mine, COMPLETION)
    found: list[str] = []
    token = ""
    for _ in range(20):
        page = await house.ask(house.admin, pb.ListApiKeysRequest(page_size=2, page_token=token))
        found += [key.id for key in page.api_keys]
        token = page.next_page_token
        if not token:
            break
    assert found == sorted(set(found))
    assert len(found) == 4 + 5


async def test_rotation_leaves_two_live_secrets_at_most(house: House) -> None:
    """Every rotation would break callers at once, or a secret that leaked live on."""
    admit, clock = house.plane.admission.admit, house.plane.clock
    key_id, first = await house.plane.make_key(house.mine, COMPLETION)
    rotated = await house.ask(house.admin, pb.RotateApiKeyRequest(api_key=key_id))
    second = rotated.secret
    assert rotated.api_key.id == key_id
    left_ms = rotated.api_key.old_secret_until_ms - clock.now_ms()
    assert DAY_S - 60 < left_ms / 1000 <= DAY_S
    clock.ahead_s += 60
    for text in (first, second):
        await admit(text, KeyScope.COMPLETION)
    third = (await house.ask(house.admin, pb.RotateApiKeyRequest(api_key=key_id, old_secret_for_s=3_600))).secret
    clock.ahead_s += 60
    for text in (second, third):
        await admit(text, KeyScope.COMPLETION)
    with pytest.raises(ApiKeyInvalidError):
        await admit(first, KeyScope.COMPLETION)
    clock.ahead_s += 3_600
    with pytest.raises(ApiKeyInvalidError):
        await admit(second, KeyScope.COMPLETION)
    shown = (await house.ask(house.admin, pb.GetApiKeyRequest(api_key=key_id))).api_key
    assert not shown.HasField("old_secret_until_ms")
    fourth = await house.ask(house.admin, pb.RotateApiKeyRequest(api_key=key_id, old_secret_for_s=0))
    assert not fourth.api_key.HasField("old_secret_until_ms")
    stored = [item for item in house.plane.store.items(CORE) if item["pk"] == f"KEY#{key_id}"]
    assert [len(accounts.api_key_of(item).secrets) for item in stored] == [1]
    clock.ahead_s += 60
    await admit(fourth.secret, KeyScope.COMPLETION)
    with pytest.raises(ApiKeyInvalidError):
        await admit(third, KeyScope.COMPLETION)


@pytest.mark.parametrize("how", ["disabled", "deleted", "member disabled", "member deleted", "workspace deleted"])
async def test_what_is_revoked_is_refused_within_a_minute(house: House, how: str) -> None:
    """A stolen key would go on spending."""
    await house.ask(house.admin, pb.CreateWorkspaceRequest(workspace="ci"))
    wanted = pb.CreateApiKeyRequest(name="k", scope=COMPLETION, member="bob", workspace="ci")
    made = await house.ask(house.admin, wanted)
    await house.plane.admission.admit(made.secret, KeyScope.COMPLETION)
    requests: dict[str, Message] = {
        "disabled": pb.UpdateApiKeyRequest(api_key=made.api_key.id, disabled=True),
        "deleted": pb.DeleteApiKeyRequest(api_key=made.api_key.id),
        "member disabled": pb.UpdateMemberRequest(member="bob", disabled=True),
        "member deleted": pb.DeleteMemberRequest(member="bob"),
        "workspace deleted": pb.DeleteWorkspaceRequest(workspace="ci"),
    }
    await house.ask(house.admin, requests[how])
    house.plane.clock.ahead_s += 60
    with pytest.raises(ApiKeyInvalidError):
        await house.plane.admission.admit(made.secret, KeyScope.COMPLETION)


def every_request(key_id: str) -> dict[str, Message]:
    """Return a sound request for every method about access that management keys may call, without an organisation."""
    return {
        "GetOrganisation": pb.GetOrganisationRequest(),
        "UpdateOrganisation": pb.UpdateOrganisationRequest(name="n"),
        "CreateMember": pb.CreateMemberRequest(member="new", role=MEMBER),
        "ListMembers": pb.ListMembersRequest(),
        "UpdateMember": pb.UpdateMemberRequest(member="bob", name="n"),
        "DeleteMember": pb.DeleteMemberRequest(member="bob"),
        "CreateWorkspace": pb.CreateWorkspaceRequest(workspace="new"),
        "ListWorkspaces": pb.ListWorkspacesRequest(),
        "UpdateWorkspace": pb.UpdateWorkspaceRequest(workspace="new", name="n"),
        "DeleteWorkspace": pb.DeleteWorkspaceRequest(workspace="new"),
        "CreateApiKey": pb.CreateApiKeyRequest(name="k", scope=COMPLETION),
        "GetApiKey": pb.GetApiKeyRequest(api_key=key_id),
        "ListApiKeys": pb.ListApiKeysRequest(),
        "UpdateApiKey": pb.UpdateApiKeyRequest(api_key=key_id, name="n"),
        "RotateApiKey": pb.RotateApiKeyRequest(api_key=key_id),
        "DeleteApiKey": pb.DeleteApiKeyRequest(api_key=key_id),
    }


READS = {"GetOrganisation", "ListMembers", "ListWorkspaces", "GetApiKey", "ListApiKeys"}
OF_KEYS = {"CreateApiKey", "GetApiKey", "ListApiKeys", "UpdateApiKey", "RotateApiKey", "DeleteApiKey"}


async def test_what_each_role_may_do(house: House) -> None:
    """A member could make himself an administrator, or an administrator not do his work."""
    their_id, _ = await house.plane.make_key(house.mine, COMPLETION)
    for name, request in every_request(their_id).items():
        if name in READS:
            await house.ask(house.billing, request)
        else:
            error = await house.refused(house.billing, request)
            assert (error.reason, error.metadata["role"]) == ("SCOPE_MISSING", "billing"), name
    for name, request in every_request(their_id).items():
        if name in {"CreateApiKey", "ListApiKeys"}:
            await house.ask(house.ada, request)
        else:
            error = await house.refused(house.ada, request)
            wanted = "RESOURCE_NOT_FOUND" if name in OF_KEYS else "SCOPE_MISSING"
            assert error.reason == wanted, name
    for request in every_request(their_id).values():
        await house.ask(house.admin, request)


async def test_a_member_has_his_own_completion_keys_to_himself(house: House) -> None:
    """A member could use, or see, what belongs to others, or shake off the limit that he is under."""
    ask, ada = house.ask, house.ada
    own = await ask(ada, pb.CreateApiKeyRequest(name="mine", scope=COMPLETION))
    assert own.api_key.member == "ada"
    bob_s, _ = await house.plane.make_key(house.mine, COMPLETION, "bob")
    listed = (await ask(ada, pb.ListApiKeysRequest())).api_keys
    assert [key.id for key in listed] == [own.api_key.id]
    for request in (
        pb.UpdateApiKeyRequest(api_key=own.api_key.id, name="n", rates=pb.Rates(concurrency=3)),
        pb.RotateApiKeyRequest(api_key=own.api_key.id),
        pb.GetApiKeyRequest(api_key=own.api_key.id),
    ):
        assert (await ask(ada, request)).api_key.member == "ada"
    for refused in (
        pb.CreateApiKeyRequest(name="k", scope=MANAGEMENT, member="ada"),
        pb.CreateApiKeyRequest(name="k", scope=OPERATOR),
        pb.CreateApiKeyRequest(name="k", scope=COMPLETION, member="bob"),
        pb.UpdateApiKeyRequest(api_key=own.api_key.id, member="bob"),
        pb.UpdateApiKeyRequest(api_key=own.api_key.id, member=""),
    ):
        assert (await house.refused(ada, refused)).reason == "SCOPE_MISSING", refused
    her_manager = house.ada[3:15]
    for hidden in (bob_s, her_manager):
        for name in OF_KEYS - {"CreateApiKey", "ListApiKeys"}:
            assert (await house.refused(ada, every_request(hidden)[name])).reason == "RESOURCE_NOT_FOUND"
    await ask(ada, pb.DeleteApiKeyRequest(api_key=own.api_key.id))


async def test_no_key_makes_a_wider_one(house: House) -> None:
    """Whoever manages one organisation could manage all."""
    for key in (house.manager, house.admin):
        error = await house.refused(key, pb.CreateApiKeyRequest(name="k", scope=OPERATOR))
        assert (error.code, error.metadata["scope"]) == ("PERMISSION_DENIED", "operator")
        assert (await house.ask(key, pb.CreateApiKeyRequest(name="k", scope=MANAGEMENT))).secret
    for change in (
        pb.UpdateOrganisationRequest(disabled=False),
        pb.UpdateOrganisationRequest(recurring_grant=pb.RecurringGrant()),
    ):
        assert (await house.refused(house.admin, change)).metadata == {"scope": "operator"}
    for request in (pb.CreateOrganisationRequest(name="n"), pb.ListOrganisationsRequest()):
        assert (await house.refused(house.manager, request)).reason == "SCOPE_MISSING"


async def test_a_completion_key_manages_nothing(house: House) -> None:
    """A key that leaked out of a service could give itself more credits, models or time."""
    key_id, key = await house.plane.make_key(house.mine, COMPLETION)
    requests = every_request(key_id).values()
    for request in (*requests, pb.CreateOrganisationRequest(name="n"), pb.ListOrganisationsRequest()):
        error = await house.refused(key, request)
        assert (error.code, error.reason) == ("PERMISSION_DENIED", "SCOPE_MISSING")
    with pytest.raises(ScopeMissingError):
        await house.plane.admission.admit(house.manager, KeyScope.COMPLETION)


async def test_another_organisation_is_one_that_does_not_exist(house: House) -> None:
    """A customer could learn who the other customers are, or reach into their keys."""
    their_id, _ = await house.plane.make_key(house.mine, COMPLETION)
    nobody = "0" * len(house.mine)
    for name, request in every_request(their_id).items():
        answers = []
        for organisation in (house.mine, nobody):
            request.organisation = organisation  # type: ignore[attr-defined]
            error = await house.refused(house.stranger, request)
            answers.append((error.code, error.reason, error.message.replace(organisation, "ID"), set(error.metadata)))
        assert answers[0] == answers[1], name
        assert answers[0][1] == "RESOURCE_NOT_FOUND"
    for name in ("GetApiKey", "UpdateApiKey", "RotateApiKey", "DeleteApiKey"):
        answers = []
        for key_id in (their_id, "0" * 12):
            error = await house.refused(house.stranger, every_request(key_id)[name])
            answers.append((error.code, error.reason, error.message.replace(key_id, "ID"), set(error.metadata)))
        assert answers[0] == answers[1], name


async def test_operators_name_the_organisation(house: House) -> None:
    """An operator's slip would change some organisation, or his own keys could not be revoked."""
    their_id, _ = await house.plane.make_key(house.mine, COMPLETION)
    for name, request in every_request(their_id).items():
        if name == "ListApiKeys":
            assert their_id not in [key.id for key in (await house.ask(house.operator, request)).api_keys]
        elif name in OF_KEYS and name != "CreateApiKey":
            assert (await house.refused(house.operator, request)).reason == "RESOURCE_NOT_FOUND", name
        else:
            error = await house.refused(house.operator, request)
            assert (error.reason, error.field_violations[0][0]) == ("INVALID_FIELD", "organisation"), name
        request.organisation = house.mine  # type: ignore[attr-defined]
        if name != "DeleteApiKey":
            await house.ask(house.operator, request)
        request.organisation = "0" * 26  # type: ignore[attr-defined]
        assert (await house.refused(house.operator, request)).reason == "RESOURCE_NOT_FOUND", name


async def test_operators_manage_their_own_keys_by_naming_none(house: House) -> None:
    """A stolen operator key could never be revoked."""
    made = await house.ask(house.operator, pb.CreateApiKeyRequest(name="op", scope=OPERATOR))
    assert made.api_key.scope == OPERATOR
    listed = {key.id for key in (await house.ask(house.operator, pb.ListApiKeysRequest())).api_keys}
    assert listed == {made.api_key.id, house.operator[3:15]}
    for wrong in (
        pb.CreateApiKeyRequest(name="op", scope=OPERATOR, organisation=house.mine),
        pb.CreateApiKeyRequest(name="op", scope=OPERATOR, member="ada"),
        pb.CreateApiKeyRequest(name="op", scope=OPERATOR, rates=pb.Rates(concurrency=1)),
    ):
        assert (await house.refused(house.operator, wrong)).reason == "INVALID_FIELD"
    rotated = await house.ask(house.operator, pb.RotateApiKeyRequest(api_key=made.api_key.id, old_secret_for_s=0))
    house.plane.clock.ahead_s += 60
    assert (await house.refused(made.secret, pb.ListOrganisationsRequest())).reason == "API_KEY_INVALID"
    await house.ask(rotated.secret, pb.DeleteApiKeyRequest(api_key=made.api_key.id))
    house.plane.clock.ahead_s += 60
    assert (await house.refused(rotated.secret, pb.ListOrganisationsRequest())).reason == "API_KEY_INVALID"


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (pb.CreateMemberRequest(member="Ada", role=MEMBER), {"member"}),
        (pb.CreateMemberRequest(member="x" * 41, role=MEMBER), {"member"}),
        (pb.CreateMemberRequest(member="-x", name="a\n", role=MEMBER), {"member", "name"}),
        (pb.CreateMemberRequest(member="x"), {"role"}),
        (pb.CreateWorkspaceRequest(workspace="a#b", name="n" * 201), {"workspace", "name"}),
        (pb.UpdateOrganisationRequest(name="", low_balance_nanousd=-1), {"name", "low_balance_nanousd"}),
        (pb.UpdateOrganisationRequest(organisation="a#b"), {"organisation"}),
        (pb.GetApiKeyRequest(api_key="jk-0123"), {"api_key"}),
        (pb.CreateApiKeyRequest(name="k"), {"scope"}),
        (pb.CreateApiKeyRequest(name="k", scope=COMPLETION, expires_at_ms=5), {"expires_at_ms"}),
        (pb.CreateApiKeyRequest(name="k", scope=COMPLETION, expires_at_ms=-5), {"expires_at_ms"}),
        (pb.CreateApiKeyRequest(name="k", scope=COMPLETION, expires_at_ms=2**62), {"expires_at_ms"}),
        (
            pb.CreateApiKeyRequest(name="k", scope=MANAGEMENT, workspace="w", rates=pb.Rates(concurrency=1)),
            {"workspace", "rates"},
        ),
        (pb.CreateApiKeyRequest(name="k", scope=COMPLETION, rates=pb.Rates(requests_per_min=0)), {"rates.requests_per_min"}),
        (pb.CreateApiKeyRequest(name="k", scope=COMPLETION, rates=pb.Rates(concurrency=-1)), {"rates.concurrency"}),
        (
            pb.CreateApiKeyRequest(name="k", scope=COMPLETION, allowed_models=pb.AllowList(names=["a/b", "ab"])),
            {"allowed_models.names[1]"},
        ),
        (
            pb.CreateApiKeyRequest(name="k", scope=COMPLETION, allowed_models=pb.AllowList(names=["a/b"] * 101)),
            {"allowed_models.names"},
        ),
        (
            pb.CreateApiKeyRequest(name="k", scope=COMPLETION, allowed_models=pb.AllowList(names=["a/" + "b" * 99] * 50)),
            {"allowed_models.names"},
        ),
        (
            pb.CreateApiKeyRequest(name="k", scope=COMPLETION, allowed_providers=pb.AllowList(names=["A B"])),
            {"allowed_providers.names[0]"},
        ),
        (
            pb.UpdateApiKeyRequest(api_key="0" * 12, allow_all_models=True, allowed_models=pb.AllowList()),
            {"allow_all_models"},
        ),
        (
            pb.UpdateApiKeyRequest(api_key="0" * 12, allow_all_providers=True, allowed_providers=pb.AllowList()),
            {"allow_all_providers"},
        ),
        (pb.RotateApiKeyRequest(api_key="0" * 12, old_secret_for_s=-1), {"old_secret_for_s"}),
        (pb.RotateApiKeyRequest(api_key="0" * 12, old_secret_for_s=31 * DAY_S), {"old_secret_for_s"}),
        (pb.ListMembersRequest(page_size=-1), {"page_size"}),
        (pb.ListMembersRequest(page_size=1001), {"page_size"}),
        (pb.ListMembersRequest(page_token="é"), {"page_token"}),
        (pb.ListMembersRequest(page_token="nonsense"), {"page_token"}),
        (pb.ListApiKeysRequest(page_token="e30="), {"page_token"}),
    ],
)
async def test_what_is_wrong_is_named(house: House, request_: Message, fields: set[str]) -> None:
    """A mistake would be taken for something else, and an ignored limit cost money."""
    error = await house.refused(house.admin, request_)
    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
    assert {field for field, _ in error.field_violations} == fields


@pytest.mark.parametrize("token", ["16.", "-1.", "x", "0.nonsense", "9" * 5000, "٣."])
async def test_a_made_up_page_of_organisations_is_refused(house: House, token: str) -> None:
    """A token that somebody wrote himself would be a bug, or show what is not in the list."""
    error = await house.refused(house.operator, pb.ListOrganisationsRequest(page_token=token))
    assert error.reason == "INVALID_FIELD"


async def test_a_page_token_of_another_s_list_is_refused(house: House) -> None:
    """A token would be a way into another organisation's members."""
    page = await house.ask(house.admin, pb.ListMembersRequest(page_size=1))
    assert page.next_page_token
    await house.ask(house.admin, pb.ListMembersRequest(page_token=page.next_page_token))
    for key, request in (
        (house.stranger, pb.ListMembersRequest(page_token=page.next_page_token)),
        (house.admin, pb.ListApiKeysRequest(page_token=page.next_page_token)),
    ):
        assert (await house.refused(key, request)).reason == "INVALID_FIELD"


def named(request: Message, field: str) -> Message:
    """Return a request that names nobody in a field."""
    setattr(request, field, "nobody")
    return request


@pytest.mark.parametrize("field", ["member", "workspace"])
async def test_a_key_belongs_only_to_what_is_there(house: House, field: str) -> None:
    """A mistyped member or workspace would make a key that opens nothing, or is under no limit."""
    error = await house.refused(house.admin, named(pb.CreateApiKeyRequest(name="k", scope=COMPLETION), field))
    assert (error.reason, error.metadata["resource_type"]) == ("RESOURCE_NOT_FOUND", field)
    key_id, _ = await house.plane.make_key(house.mine, COMPLETION)
    change = named(pb.UpdateApiKeyRequest(api_key=key_id), field)
    assert (await house.refused(house.admin, change)).reason == "RESOURCE_NOT_FOUND"


async def test_a_key_whose_member_is_gone_can_still_be_disabled(house: House) -> None:
    """What is left of somebody who has gone could not be tidied up."""
    key_id, _ = await house.plane.make_key(house.mine, COMPLETION, "bob")
    await house.ask(house.admin, pb.DeleteMemberRequest(member="bob"))
    changed = await house.ask(house.admin, pb.UpdateApiKeyRequest(api_key=key_id, disabled=True))
    assert (changed.api_key.disabled, changed.api_key.member) == (True, "bob")


async def test_no_secret_is_kept_or_told_twice(house: House) -> None:
    """Whoever reads the store, the log or a list could call in another's name."""
    made = await house.ask(house.admin, pb.CreateApiKeyRequest(name="k", scope=COMPLETION))
    rotated = await house.ask(house.admin, pb.RotateApiKeyRequest(api_key=made.api_key.id))
    secrets = [made.secret, rotated.secret, house.admin, house.operator]
    seen = [
        await house.ask(house.admin, pb.GetApiKeyRequest(api_key=made.api_key.id)),
        await house.ask(house.admin, pb.ListApiKeysRequest()),
        await house.ask(house.admin, pb.UpdateApiKeyRequest(api_key=made.api_key.id, name="n")),
        await house.refused(made.secret, pb.ListApiKeysRequest()),
        await house.refused(made.secret[:-1] + "!", pb.ListApiKeysRequest()),
        await house.refused(house.admin, pb.GetApiKeyRequest(api_key=made.secret)),
    ]
    everything = repr(seen) + house.plane.log.getvalue() + repr(house.plane.store.items(CORE))
    for error in seen[3:]:
        everything += repr((str(error), error.metadata, error.field_violations))
    for secret in secrets:
        assert secret[16:68] not in everything


async def test_each_call_leaves_one_line(house: House) -> None:
    """Nobody could tell afterwards who changed what."""
    before = len(house.plane.lines())
    await house.ask(house.admin, pb.ListMembersRequest())
    await house.refused(house.ada, pb.ListMembersRequest())
    await house.refused("jk-nonsense", pb.ListMembersRequest())
    lines = house.plane.lines()[before:]
    assert [(line["method"], line["status"]) for line in lines] == [
        ("ListMembers", "OK"),
        ("ListMembers", "SCOPE_MISSING"),
        ("ListMembers", "API_KEY_INVALID"),
    ]
    assert (lines[0]["account"], lines[0]["api_key"]) == (house.mine, house.admin[3:15])


async def raw(plane: ControlPlane, method: str, body: bytes, key: str | None) -> tuple[str, bytes]:
    """Send bytes as they are; return the status and its details."""
    metadata = (("authorization", f"Bearer {key}"),) if key else ()
    async with grpc.aio.insecure_channel(plane.target) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{SERVICE}/{method}")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(body, metadata=metadata, timeout=PATIENCE_S)
    details = dict(caught.value.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    assert isinstance(details, bytes)
    return caught.value.code().name, details


async def test_a_stranger_is_refused_before_he_is_read(house: House) -> None:
    """Anybody could make the server parse what he likes, or learn what a request looks like."""
    for method in house.plane.methods:
        code, details = await raw(house.plane, method, b"\xff\xff", None)
        assert code == "UNAUTHENTICATED", method
        assert b"API_KEY_INVALID" in details
        code, _ = await raw(house.plane, method, b"\xff\xff", house.operator)
        assert code == "INVALID_ARGUMENT", method
        code, details = await raw(house.plane, method, UNKNOWN_FIELD, house.operator)
        assert (code, b"INVALID_FIELD" in details) == ("INVALID_ARGUMENT", True), method
    assert (await raw(house.plane, "DeleteOrganisation", b"", house.operator))[0] == "UNIMPLEMENTED"


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (UnavailableError("canary"), "UNAVAILABLE", "LEDGER_UNAVAILABLE"),
        (UnknownOutcomeError("canary"), "UNAVAILABLE", "OUTCOME_UNKNOWN"),
        (RuntimeError("canary"), "INTERNAL", "INTERNAL"),
    ],
)
async def test_what_goes_wrong_inside_is_told_in_our_words(
    house: House, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str, reason: str
) -> None:
    """A caller would be told what only the log may hold, or take an outage for his own mistake."""

    async def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr("junctor.usecases.members.Members.create", broken)
    told = await house.refused(house.admin, pb.CreateMemberRequest(member="x", role=MEMBER))
    assert (told.code, told.reason) == (code, reason)
    assert "canary" not in str(told) + repr(told.metadata) + house.plane.log.getvalue()
    assert house.plane.lines()[-1]["status"] == reason


async def test_a_call_ends_with_its_deadline(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls would pile up in a server whose store is stuck."""

    async def stuck(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("junctor.usecases.organisations.Organisations.get", stuck)
    with pytest.raises(JunctorRpcError) as caught:
        await house.ask(house.admin, pb.GetOrganisationRequest(), timeout_s=0.5)
    assert caught.value.code == "DEADLINE_EXCEEDED"
    assert await house.plane.gate.empty(PATIENCE_S)
    assert house.plane.lines()[-1]["status"] in {"DEADLINE_EXCEEDED", "CANCELLED"}
