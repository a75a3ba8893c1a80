"""The members and workspaces of an organisation. An id that was removed is not given again (records/accounts says why)."""

from msgspec import UNSET, Struct, UnsetType

from junctor.domain.account import Actor, Member, MemberRole, Workspace
from junctor.domain.errors import ResourceExistsError, ResourceNotFoundError
from junctor.ledger import trying
from junctor.policy import access
from junctor.ports.ambient import Clock, Dice
from junctor.ports.table import Done, Item, Table
from junctor.records import accounts, keys
from junctor.usecases.acting import account_of
from junctor.usecases.editing import applied, edit, page_of


class MemberChange(Struct, frozen=True, kw_only=True):
    """What shall be different; what is not set stays."""

    name: str | UnsetType = UNSET
    role: MemberRole | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET


class WorkspaceChange(Struct, frozen=True, kw_only=True):
    """What shall be different; what is not set stays."""

    name: str | UnsetType = UNSET


class Members:
    """What administrators do with members and workspaces.

    Every method raises InvalidFieldError, ResourceNotFoundError and ScopeMissingError for whom or where it is not for, and may
    raise StoreError; creating raises ResourceExistsError, changing ChangedMeanwhileError.
    """

    def __init__(self, table: Table, clock: Clock, dice: Dice) -> None:
        self._table = table
        self._clock = clock
        self._dice = dice

    async def create(self, actor: Actor, organisation: str, member_id: str, name: str, role: MemberRole) -> Member:
        """Add a member."""
        account = await account_of(self._table, self._dice, actor, organisation, access.ADMINS)
        member = Member(account=account, id=member_id, name=name, role=role, created_at_ms=self._clock.now_ms())
        await self._put(accounts.member_item(member), "member", member_id)
        return member

    async def list(self, actor: Actor, organisation: str, page_size: int, page_token: str) -> tuple[tuple[Member, ...], str]:
        """Read a page of the members, by id, and the token of the next page, empty at the end."""
        items, following = await self._page(actor, organisation, keys.MEMBER_PREFIX, page_size, page_token)
        found = (accounts.member_of(item) for item in items)
        return tuple(member for member in found if member is not None), following

    async def update(self, actor: Actor, organisation: str, member_id: str, change: MemberChange) -> Member:
        """Change a member."""
        account = access.account_for(actor, organisation, access.ADMINS)
        return await edit(self._table, self._dice, lambda: self._member(account, member_id), lambda old: applied(old, change))

    async def delete(self, actor: Actor, organisation: str, member_id: str) -> None:
        """Remove a member."""
        account = access.account_for(actor, organisation, access.ADMINS)
        member = await self._member(account, member_id)
        await trying.update(self._table, self._dice, accounts.removal(member))

    async def create_workspace(self, actor: Actor, organisation: str, workspace_id: str, name: str) -> Workspace:
        """Add a workspace."""
        account = await account_of(self._table, self._dice, actor, organisation, access.ADMINS)
        workspace = Workspace(account=account, id=workspace_id, name=name, created_at_ms=self._clock.now_ms())
        await self._put(accounts.workspace_item(workspace), "workspace", workspace_id)
        return workspace

    async def list_workspaces(
        self, actor: Actor, organisation: str, page_size: int, page_token: str
    ) -> tuple[tuple[Workspace, ...], str]:
        """Read a page of the workspaces, by id, and the token of the next page, empty at the end."""
        items, following = await self._page(actor, organisation, keys.WORKSPACE_PREFIX, page_size, page_token)
        found = (accounts.workspace_of(item) for item in items)
        return tuple(workspace for workspace in found if workspace is not None), following

    async def update_workspace(self, actor: Actor, organisation: str, workspace_id: str, change: WorkspaceChange) -> Workspace:
        """Change a workspace."""
        account = access.account_for(actor, organisation, access.ADMINS)
        return await edit(
            self._table, self._dice, lambda: self._workspace(account, workspace_id), lambda old: applied(old, change)
        )

    async def delete_workspace(self, actor: Actor, organisation: str, workspace_id: str) -> None:
        """Remove a workspace."""
        account = access.account_for(actor, organisation, access.ADMINS)
        workspace = await self._workspace(account, workspace_id)
        await trying.update(self._table, self._dice, accounts.removal(workspace))

    async def _put(self, item: Item, kind: str, name: str) -> None:
        answer = await trying.put_new(self._table, self._dice, item)
        if not isinstance(answer, Done) and answer.old != item:
            raise ResourceExistsError(
                f"There is a {kind} {name!r}, or was one: ids are not given twice.", resource_type=kind, resource_name=name
            )

    async def _page(
        self, actor: Actor, organisation: str, prefix: str, page_size: int, page_token: str
    ) -> tuple[tuple[Item, ...], str]:
        account = await account_of(self._table, self._dice, actor, organisation, access.READERS)
        page = await page_of(self._table, self._dice, accounts.listed(account, prefix, page_size), page_token)
        return page.items, page.next or ""

    async def _member(self, account: str, member_id: str) -> Member:
        found = await trying.get(self._table, self._dice, keys.member(account, member_id))
        member = accounts.member_of(found) if found is not None else None
        if member is None:
            raise ResourceNotFoundError("member", member_id)
        return member

    async def _workspace(self, account: str, workspace_id: str) -> Workspace:
        found = await trying.get(self._table, self._dice, keys.workspace(account, workspace_id))
        workspace = accounts.workspace_of(found) if found is not None else None
        if workspace is None:
            raise ResourceNotFoundError("workspace", workspace_id)
        return workspace
