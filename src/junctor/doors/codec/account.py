"""Organisations, members and workspaces between proto and domain."""

from collections.abc import Mapping

from msgspec import UNSET

from junctor.domain.account import Account, GrantKind, Member, MemberRole, RecurringGrant, Workspace
from junctor.domain.credits import Interval
from junctor.doors.codec import forms
from junctor.doors.codec.checks import Checks
from junctor.usecases.members import MemberChange, WorkspaceChange
from junctor.usecases.organisations import OrganisationChange
from junctor.v1 import account_service_pb2 as pb

INTERVALS: Mapping[int, Interval] = {
    pb.INTERVAL_DAY: Interval.DAY,
    pb.INTERVAL_WEEK: Interval.WEEK,
    pb.INTERVAL_MONTH: Interval.MONTH,
    pb.INTERVAL_ALL: Interval.ALL,
}
_PERIODS: Mapping[int, Interval] = {written: read for written, read in INTERVALS.items() if read is not Interval.ALL}
_WRITTEN_INTERVALS = {interval: pb.Interval.Value(f"INTERVAL_{interval.name}") for interval in Interval}
_GRANT_KINDS: Mapping[int, GrantKind] = {pb.GRANT_KIND_ALLOWANCE: GrantKind.ALLOWANCE, pb.GRANT_KIND_METERED: GrantKind.METERED}
_WRITTEN_GRANT_KINDS = {kind: pb.GrantKind.Value(f"GRANT_KIND_{kind.name}") for kind in GrantKind}
_ROLES: Mapping[int, MemberRole] = {
    pb.MEMBER_ROLE_ADMIN: MemberRole.ADMIN,
    pb.MEMBER_ROLE_BILLING: MemberRole.BILLING,
    pb.MEMBER_ROLE_MEMBER: MemberRole.MEMBER,
}
_WRITTEN_ROLES = {role: pb.MemberRole.Value(f"MEMBER_ROLE_{role.name}") for role in MemberRole}


def organisation(account: Account) -> pb.Organisation:
    """Write an organisation."""
    grant = account.recurring_grant
    return pb.Organisation(
        id=account.id,
        name=account.name,
        created_at_ms=account.created_at_ms,
        disabled=account.disabled,
        recurring_grant=pb.RecurringGrant(
            kind=_WRITTEN_GRANT_KINDS[grant.kind],
            amount_nanousd=grant.amount_nanousd,
            interval=_WRITTEN_INTERVALS[grant.interval],
        )
        if grant
        else None,
        low_balance_nanousd=account.low_balance_nanousd,
    )


def organisation_change(request: pb.UpdateOrganisationRequest, checks: Checks) -> OrganisationChange:
    """Read what shall be different about an organisation."""
    balance: int | None = forms.amount(request.low_balance_nanousd, "low_balance_nanousd", checks) or None
    return OrganisationChange(
        name=forms.name(request.name, checks, least=1) if request.HasField("name") else UNSET,
        disabled=request.disabled if request.HasField("disabled") else UNSET,
        recurring_grant=_grant(request.recurring_grant, checks) if request.HasField("recurring_grant") else UNSET,
        low_balance_nanousd=balance if request.HasField("low_balance_nanousd") else UNSET,
    )


def member(found: Member) -> pb.Member:
    """Write a member."""
    return pb.Member(
        id=found.id,
        name=found.name,
        role=_WRITTEN_ROLES[found.role],
        created_at_ms=found.created_at_ms,
        disabled=found.disabled,
    )


def role(value: int, checks: Checks) -> MemberRole:
    """Read what a member may do."""
    return checks.member(value, _ROLES, "role") or MemberRole.MEMBER


def member_change(request: pb.UpdateMemberRequest, checks: Checks) -> MemberChange:
    """Read what shall be different about a member."""
    return MemberChange(
        name=forms.name(request.name, checks) if request.HasField("name") else UNSET,
        role=role(request.role, checks) if request.HasField("role") else UNSET,
        disabled=request.disabled if request.HasField("disabled") else UNSET,
    )


def workspace(found: Workspace) -> pb.Workspace:
    """Write a workspace."""
    return pb.Workspace(id=found.id, name=found.name, created_at_ms=found.created_at_ms)


def workspace_change(request: pb.UpdateWorkspaceRequest, checks: Checks) -> WorkspaceChange:
    """Read what shall be different about a workspace."""
    return WorkspaceChange(name=forms.name(request.name, checks) if request.HasField("name") else UNSET)


def _grant(given: pb.RecurringGrant, checks: Checks) -> RecurringGrant | None:
    """Read a recurring grant, None for an amount of 0, which ends it."""
    if given.amount_nanousd == 0:
        return None
    forms.amount(given.amount_nanousd, "recurring_grant.amount_nanousd", checks, least=1)
    kind = checks.member(given.kind, _GRANT_KINDS, "recurring_grant.kind")
    interval = checks.member(given.interval, _PERIODS, "recurring_grant.interval")
    if kind is None or interval is None:
        return None
    return RecurringGrant(kind=kind, amount_nanousd=given.amount_nanousd, interval=interval)
