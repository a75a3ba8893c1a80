"""The methods of AccountService about who may do what: organisations, members, workspaces and API keys.

Completion keys may call none of them. What else a caller may do is the use cases' to say, by policy/access.
"""

from junctor.domain.account import Actor, KeyScope
from junctor.doors.codec import account as codec
from junctor.doors.codec import api_keys as key_codec
from junctor.doors.codec import forms
from junctor.doors.codec.checks import Checks, Limits
from junctor.doors.rpc.methods import Method, Methods
from junctor.usecases.api_keys import ApiKeys
from junctor.usecases.members import Members
from junctor.usecases.organisations import Organisations
from junctor.v1 import account_service_pb2 as pb

OPERATORS = frozenset({KeyScope.OPERATOR})
MANAGERS = frozenset({KeyScope.MANAGEMENT, KeyScope.OPERATOR})


def methods(organisations: Organisations, members: Members, api_keys: ApiKeys) -> Methods:
    """Return the methods."""
    return {
        **_organisations(organisations),
        **_members(members),
        **_workspaces(members),
        **_api_keys(api_keys),
        **_api_key_secrets(api_keys),
    }


def _organisations(organisations: Organisations) -> Methods:
    async def create(_actor: Actor, request: pb.CreateOrganisationRequest) -> pb.CreateOrganisationResponse:
        checks = Checks(Limits())
        name = forms.name(request.name, checks, least=1)
        checks.done()
        return pb.CreateOrganisationResponse(organisation=codec.organisation(await organisations.create(name)))

    async def get(actor: Actor, request: pb.GetOrganisationRequest) -> pb.GetOrganisationResponse:
        _about(request.organisation).done()
        return pb.GetOrganisationResponse(organisation=codec.organisation(await organisations.get(actor, request.organisation)))

    async def list_(_actor: Actor, request: pb.ListOrganisationsRequest) -> pb.ListOrganisationsResponse:
        found, following = await organisations.list(*_page(request, Checks(Limits())))
        return pb.ListOrganisationsResponse(organisations=map(codec.organisation, found), next_page_token=following)

    async def update(actor: Actor, request: pb.UpdateOrganisationRequest) -> pb.UpdateOrganisationResponse:
        checks = _about(request.organisation)
        change = codec.organisation_change(request, checks)
        checks.done()
        changed = await organisations.update(actor, request.organisation, change)
        return pb.UpdateOrganisationResponse(organisation=codec.organisation(changed))

    return {
        "CreateOrganisation": Method(pb.CreateOrganisationRequest, OPERATORS, create),
        "GetOrganisation": Method(pb.GetOrganisationRequest, MANAGERS, get),
        "ListOrganisations": Method(pb.ListOrganisationsRequest, OPERATORS, list_),
        "UpdateOrganisation": Method(pb.UpdateOrganisationRequest, MANAGERS, update),
    }


def _members(members: Members) -> Methods:
    async def create(actor: Actor, request: pb.CreateMemberRequest) -> pb.CreateMemberResponse:
        checks = _about(request.organisation)
        member_id = forms.identifier(request.member, "member", checks)
        name, role = forms.name(request.name, checks), codec.role(request.role, checks)
        checks.done()
        made = await members.create(actor, request.organisation, member_id, name, role)
        return pb.CreateMemberResponse(member=codec.member(made))

    async def list_(actor: Actor, request: pb.ListMembersRequest) -> pb.ListMembersResponse:
        page = _page(request, _about(request.organisation))
        found, following = await members.list(actor, request.organisation, *page)
        return pb.ListMembersResponse(members=map(codec.member, found), next_page_token=following)

    async def update(actor: Actor, request: pb.UpdateMemberRequest) -> pb.UpdateMemberResponse:
        checks = _about(request.organisation)
        member_id = forms.identifier(request.member, "member", checks)
        change = codec.member_change(request, checks)
        checks.done()
        changed = await members.update(actor, request.organisation, member_id, change)
        return pb.UpdateMemberResponse(member=codec.member(changed))

    async def delete(actor: Actor, request: pb.DeleteMemberRequest) -> pb.DeleteMemberResponse:
        checks = _about(request.organisation)
        member_id = forms.identifier(request.member, "member", checks)
        checks.done()
        await members.delete(actor, request.organisation, member_id)
        return pb.DeleteMemberResponse()

    return {
        "CreateMember": Method(pb.CreateMemberRequest, MANAGERS, create),
        "ListMembers": Method(pb.ListMembersRequest, MANAGERS, list_),
        "UpdateMember": Method(pb.UpdateMemberRequest, MANAGERS, update),
        "DeleteMember": Method(pb.DeleteMemberRequest, MANAGERS, delete),
    }


def _workspaces(members: Members) -> Methods:
    async def create(actor: Actor, request: pb.CreateWorkspaceRequest) -> pb.CreateWorkspaceResponse:
        checks = _about(request.organisation)
        workspace_id, name = forms.identifier(request.workspace, "workspace", checks), forms.name(request.name, checks)
        checks.done()
        made = await members.create_workspace(actor, request.organisation, workspace_id, name)
        return pb.CreateWorkspaceResponse(workspace=codec.workspace(made))

    async def list_(actor: Actor, request: pb.ListWorkspacesRequest) -> pb.ListWorkspacesResponse:
        page = _page(request, _about(request.organisation))
        found, following = await members.list_workspaces(actor, request.organisation, *page)
        return pb.ListWorkspacesResponse(workspaces=map(codec.workspace, found), next_page_token=following)

    async def update(actor: Actor, request: pb.UpdateWorkspaceRequest) -> pb.UpdateWorkspaceResponse:
        checks = _about(request.organisation)
        workspace_id = forms.identifier(request.workspace, "workspace", checks)
        change = codec.workspace_change(request, checks)
        checks.done()
        changed = await members.update_workspace(actor, request.organisation, workspace_id, change)
        return pb.UpdateWorkspaceResponse(workspace=codec.workspace(changed))

    async def delete(actor: Actor, request: pb.DeleteWorkspaceRequest) -> pb.DeleteWorkspaceResponse:
        checks = _about(request.organisation)
        workspace_id = forms.identifier(request.workspace, "workspace", checks)
        checks.done()
        await members.delete_workspace(actor, request.organisation, workspace_id)
        return pb.DeleteWorkspaceResponse()

    return {
        "CreateWorkspace": Method(pb.CreateWorkspaceRequest, MANAGERS, create),
        "ListWorkspaces": Method(pb.ListWorkspacesRequest, MANAGERS, list_),
        "UpdateWorkspace": Method(pb.UpdateWorkspaceRequest, MANAGERS, update),
        "DeleteWorkspace": Method(pb.DeleteWorkspaceRequest, MANAGERS, delete),
    }


def _api_keys(api_keys: ApiKeys) -> Methods:
    async def get(actor: Actor, request: pb.GetApiKeyRequest) -> pb.GetApiKeyResponse:
        key_id = _key_id(request, _about(request.organisation))
        return pb.GetApiKeyResponse(api_key=key_codec.api_key(await api_keys.get(actor, request.organisation, key_id)))

    async def list_(actor: Actor, request: pb.ListApiKeysRequest) -> pb.ListApiKeysResponse:
        page = _page(request, _about(request.organisation))
        found, following = await api_keys.list(actor, request.organisation, *page)
        return pb.ListApiKeysResponse(api_keys=map(key_codec.api_key, found), next_page_token=following)

    async def update(actor: Actor, request: pb.UpdateApiKeyRequest) -> pb.UpdateApiKeyResponse:
        checks = _about(request.organisation)
        change = key_codec.api_key_change(request, checks)
        key_id = _key_id(request, checks)
        changed = await api_keys.update(actor, request.organisation, key_id, change)
        return pb.UpdateApiKeyResponse(api_key=key_codec.api_key(changed))

    async def delete(actor: Actor, request: pb.DeleteApiKeyRequest) -> pb.DeleteApiKeyResponse:
        await api_keys.delete(actor, request.organisation, _key_id(request, _about(request.organisation)))
        return pb.DeleteApiKeyResponse()

    return {
        "GetApiKey": Method(pb.GetApiKeyRequest, MANAGERS, get),
        "ListApiKeys": Method(pb.ListApiKeysRequest, MANAGERS, list_),
        "UpdateApiKey": Method(pb.UpdateApiKeyRequest, MANAGERS, update),
        "DeleteApiKey": Method(pb.DeleteApiKeyRequest, MANAGERS, delete),
    }


def _api_key_secrets(api_keys: ApiKeys) -> Methods:
    """Return the two methods whose answer holds a secret, once."""

    async def create(actor: Actor, request: pb.CreateApiKeyRequest) -> pb.CreateApiKeyResponse:
        checks = _about(request.organisation)
        wanted = key_codec.new_api_key(request, checks)
        checks.done()
        made, secret = await api_keys.create(actor, request.organisation, wanted)
        return pb.CreateApiKeyResponse(api_key=key_codec.api_key(made), secret=secret)

    async def rotate(actor: Actor, request: pb.RotateApiKeyRequest) -> pb.RotateApiKeyResponse:
        checks = _about(request.organisation)
        kept_s = key_codec.old_secret_for_s(request, checks)
        key_id = _key_id(request, checks)
        rotated, secret = await api_keys.rotate(actor, request.organisation, key_id, kept_s)
        return pb.RotateApiKeyResponse(api_key=key_codec.api_key(rotated), secret=secret)

    return {
        "CreateApiKey": Method(pb.CreateApiKeyRequest, MANAGERS, create),
        "RotateApiKey": Method(pb.RotateApiKeyRequest, MANAGERS, rotate),
    }


def _about(organisation: str) -> Checks:
    """Begin to check a request that is about an organisation."""
    checks = Checks(Limits())
    forms.organisation(organisation, checks)
    return checks


_Page = pb.ListOrganisationsRequest | pb.ListMembersRequest | pb.ListWorkspacesRequest | pb.ListApiKeysRequest
_OfKey = pb.GetApiKeyRequest | pb.UpdateApiKeyRequest | pb.RotateApiKeyRequest | pb.DeleteApiKeyRequest


def _page(request: _Page, checks: Checks) -> tuple[int, str]:
    """Read which page is wanted. The last check: raises InvalidFieldError with all that is wrong."""
    page = forms.page_size(request.page_size, checks), forms.page_token(request.page_token, checks)
    checks.done()
    return page


def _key_id(request: _OfKey, checks: Checks) -> str:
    """Read which API key is meant. The last check: raises InvalidFieldError with all that is wrong."""
    key_id = forms.api_key(request.api_key, checks)
    checks.done()
    return key_id
