"""`junctor orgs`: organisations, their members and their workspaces."""

import argparse
from typing import TYPE_CHECKING

from junctor.cli.access import WrongUseError
from junctor.cli.admin import (
    Actions,
    Work,
    add_action,
    at,
    organisation,
    pages,
    plain,
    run,
    show_list,
)
from junctor.cli.money import in_usd, usd
from junctor.cli.showing import show_json, show_table, tell

if TYPE_CHECKING:
    from junctor.client.admin import AdminClient
    from junctor.client.admin import messages as pb

ROLES = ("admin", "billing", "member")
GRANTS = ("allowance", "metered")
PERIODS = ("day", "week", "month")
PERIOD_DEFAULT = "month"


def add_orgs(commands: Actions) -> None:
    """Add the command and its actions."""
    orgs = commands.add_parser(
        "orgs",
        description="Manage organisations, their members and workspaces, through a running router.",
        epilog="Example: junctor orgs create Research, then: junctor orgs members add ada --role admin",
    )
    orgs.set_defaults(run=run)
    actions = orgs.add_subparsers(dest="action", title="actions", metavar="ACTION", required=True)
    add_action(actions, "list", _list, "List the organisations; for operators", organisation=False)
    add_action(actions, "show", _show, "Show an organisation")
    create = add_action(actions, "create", _create, "Make an organisation; for operators", organisation=False)
    create.add_argument("name", metavar="NAME", help="what people call it")
    _add_update(actions)
    _add_members(actions)
    _add_workspaces(actions)


def _add_update(actions: Actions) -> None:
    update = add_action(actions, "update", _update, "Change an organisation; what is not given stays")
    update.add_argument("--name", metavar="NAME", help="what people call it")
    add_switch(update, "refuse all its keys; for operators")
    update.add_argument("--low-balance", metavar="USD", type=usd, help="tell of it when less is available; 0 ends that")
    update.add_argument("--grant", metavar="USD", type=usd, help="credits that come by themselves; 0 ends them; for operators")
    update.add_argument(
        "--grant-kind", choices=GRANTS, help=f"a present, or a line of credit to be invoiced (default {GRANTS[0]})"
    )
    update.add_argument("--grant-every", choices=PERIODS, help=f"how often (default {PERIOD_DEFAULT})")


def _add_members(actions: Actions) -> None:
    members = actions.add_parser("members", help="manage members", description="Manage an organisation's members.")
    inner = members.add_subparsers(dest="inner", title="actions", metavar="ACTION", required=True)
    add_action(inner, "list", _list_members, "List the members")
    add = _named(inner, "add", _add_member, "Add a member")
    add.add_argument("--name", metavar="NAME", default="", help="what people call him")
    add.add_argument("--role", choices=ROLES, default="member", help="what he may manage (default %(default)s)")
    update = _named(inner, "update", _update_member, "Change a member; what is not given stays")
    update.add_argument("--name", metavar="NAME", help="what people call him")
    update.add_argument("--role", choices=ROLES, help="what he may manage")
    add_switch(update, "refuse all his keys")
    _named(inner, "remove", _remove_member, "Remove a member; his keys are refused, and his id is not given again")


def _add_workspaces(actions: Actions) -> None:
    text = "Manage an organisation's workspaces."
    workspaces = actions.add_parser(
        "workspaces", help="manage workspaces, labels on keys that may have a limit", description=text
    )
    inner = workspaces.add_subparsers(dest="inner", title="actions", metavar="ACTION", required=True)
    add_action(inner, "list", _list_workspaces, "List the workspaces")
    for name, work, does in (
        ("add", _add_workspace, "Add a workspace"),
        ("update", _update_workspace, "Change what people call a workspace"),
    ):
        _named(inner, name, work, does).add_argument("--name", metavar="NAME", default="", help="what people call it")
    _named(inner, "remove", _remove_workspace, "Remove a workspace; its keys are refused, and its id is not given again")


def _named(actions: Actions, name: str, work: Work, text: str) -> argparse.ArgumentParser:
    parser = add_action(actions, name, work, text)
    parser.add_argument("id", metavar="ID", help="its id: a-z, 0-9, hyphen and underscore")
    return parser


def add_switch(parser: argparse.ArgumentParser, what: str) -> None:
    """Add --disable and --enable: `disabled` is True, False, or None for neither."""
    switch = parser.add_mutually_exclusive_group()
    switch.add_argument("--disable", dest="disabled", action="store_true", default=None, help=what)
    switch.add_argument("--enable", dest="disabled", action="store_false", help="the reverse of --disable")


def _list(client: "AdminClient", options: argparse.Namespace) -> None:
    from junctor.client.admin import messages

    def fetch(token: str) -> "pb.ListOrganisationsResponse":
        request = messages.ListOrganisationsRequest(page_size=1000, page_token=token)
        return client.call(client.account.ListOrganisations, request, options.timeout)

    found = [entry for page in pages(fetch) for entry in page.organisations]
    found.sort(key=lambda entry: entry.id)
    show_list(options, "Organisations", found, _organisation_row, "There are no organisations.")


def _show(client: "AdminClient", options: argparse.Namespace) -> None:
    from junctor.client.admin import messages

    request = messages.GetOrganisationRequest(organisation=organisation(client, options))
    _tell_organisation(client.call(client.account.GetOrganisation, request, options.timeout).organisation, options)


def _create(client: "AdminClient", options: argparse.Namespace) -> None:
    from junctor.client.admin import messages

    request = messages.CreateOrganisationRequest(name=options.name)
    _tell_organisation(client.call(client.account.CreateOrganisation, request, options.timeout).organisation, options)


def _update(client: "AdminClient", options: argparse.Namespace) -> None:
    from junctor.client.admin import messages

    grant = None
    if options.grant is not None:
        kind, every = options.grant_kind or GRANTS[0], options.grant_every or PERIOD_DEFAULT
        grant = messages.RecurringGrant(
            kind=messages.GrantKind.Value(f"GRANT_KIND_{kind.upper()}"),
            amount_nanousd=options.grant,
            interval=messages.Interval.Value(f"INTERVAL_{every.upper()}"),
        )
    elif options.grant_kind or options.grant_every:
        raise WrongUseError("A grant is set as a whole: give --grant too.")
    request = messages.UpdateOrganisationRequest(
        organisation=organisation(client, options),
        name=options.name,
        disabled=options.disabled,
        recurring_grant=grant,
        low_balance_nanousd=options.low_balance,
    )
    _tell_organisation(client.call(client.account.UpdateOrganisation, request, options.timeout).organisation, options)


def _list_members(client: "AdminClient", options: argparse.Namespace) -> None:
    from junctor.client.admin import messages

    whose = organisation(client, options)

    def fetch(token: str) -> "pb.ListMembersResponse":
        request = messages.ListMembersRequest(organisation=whose, page_size=1000, page_token=token)
        return client.call(client.account.ListMembers, request, options.timeout)

    found = [entry for page in pages(fetch) for entry in page.members]
    show_list(options, "Members", found, _member_row, "There are no members.")


def _add_member(client: "AdminClient", options: argparse.Namespace) -> None:
    from junctor.client.admin import messages

    request = messages.CreateMemberRequest(
        organisation=organisation(client, options), member=options.id, name=options.name, role=_role(options.role)
    )
    _tell_member(client.call(client.account.CreateMember, request, options.timeout).member, options)


def _update_member(client: "AdminClient", options: argparse.Namespace) -> None:
    from junctor.client.admin import messages

    request = messages.UpdateMemberRequest(
        organisation=organisation(client, options),
        member=options.id,
        name=options.name,
        role=_role(options.role) if options.role else None,
        disabled=options.disabled,
    )
    _tell_member(client.call(client.account.UpdateMember, request, options.timeout).member, options)


def _remove_member(client: "AdminClient", options: argparse.Namespace) -> None:
    from junctor.client.admin import messages

    request = messages.DeleteMemberRequest(organisation=organisation(client, options), member=options.id)
    client.call(client.account.DeleteMember, request, options.timeout)
    _tell_removed(options)


def _list_workspaces(client: "AdminClient", options: argparse.Namespace) -> None:
    from junctor.client.admin import messages

    whose = organisation(client, options)

    def fetch(token: str) -> "pb.ListWorkspacesResponse":
        request = messages.ListWorkspacesRequest(organisation=whose, page_size=1000, page_token=token)
        return client.call(client.account.ListWorkspaces, request, options.timeout)

    found = [entry for page in pages(fetch) for entry in page.workspaces]
    show_list(options, "Workspaces", found, _workspace_row, "There are no workspaces.")


def _add_workspace(client: "AdminClient", options: argparse.Namespace) -> None:
    from junctor.client.admin import messages

    whose = organisation(client, options)
    request = messages.CreateWorkspaceRequest(organisation=whose, workspace=options.id, name=options.name)
    _tell_workspace(client.call(client.account.CreateWorkspace, request, options.timeout).workspace, options)


def _update_workspace(client: "AdminClient", options: argparse.Namespace) -> None:
    from junctor.client.admin import messages

    whose = organisation(client, options)
    request = messages.UpdateWorkspaceRequest(organisation=whose, workspace=options.id, name=options.name)
    _tell_workspace(client.call(client.account.UpdateWorkspace, request, options.timeout).workspace, options)


def _remove_workspace(client: "AdminClient", options: argparse.Namespace) -> None:
    from junctor.client.admin import messages

    request = messages.DeleteWorkspaceRequest(organisation=organisation(client, options), workspace=options.id)
    client.call(client.account.DeleteWorkspace, request, options.timeout)
    _tell_removed(options)


def _role(name: str) -> "pb.MemberRole.ValueType":
    from junctor.client.admin import messages

    return messages.MemberRole.Value(f"MEMBER_ROLE_{name.upper()}")


def _tell_organisation(found: "pb.Organisation", options: argparse.Namespace) -> None:
    if options.json:
        show_json(plain(found))
        return
    rows = [("id", found.id), ("made", at(found.created_at_ms)), ("state", _state(disabled=found.disabled))]
    if found.HasField("recurring_grant"):
        grant = plain(found.recurring_grant)
        amount = in_usd(found.recurring_grant.amount_nanousd)
        rows.append(("recurring grant", f"{amount} each {grant['interval']}, {grant['kind']}"))
    if found.HasField("low_balance_nanousd"):
        rows.append(("low balance", f"below {in_usd(found.low_balance_nanousd)}"))
    show_table(found.name, rows)


def _tell_member(found: "pb.Member", options: argparse.Namespace) -> None:
    if options.json:
        show_json(plain(found))
    else:
        show_table("Member", [_member_row(found)])


def _organisation_row(found: "pb.Organisation") -> tuple[str, ...]:
    return found.id, found.name, _state(disabled=found.disabled), at(found.created_at_ms)


def _workspace_row(found: "pb.Workspace") -> tuple[str, ...]:
    return found.id, found.name, at(found.created_at_ms)


def _member_row(found: "pb.Member") -> tuple[str, ...]:
    return found.id, found.name, str(plain(found)["role"]), _state(disabled=found.disabled), at(found.created_at_ms)


def _tell_workspace(found: "pb.Workspace", options: argparse.Namespace) -> None:
    if options.json:
        show_json(plain(found))
    else:
        show_table("Workspace", [(found.id, found.name, at(found.created_at_ms))])


def _tell_removed(options: argparse.Namespace) -> None:
    if options.json:
        show_json({"removed": options.id})
    else:
        tell(f"Removed {options.id}. Instances follow within a minute.")


def _state(*, disabled: bool) -> str:
    return "disabled" if disabled else "active"
