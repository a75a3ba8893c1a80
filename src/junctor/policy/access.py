"""Who may manage what: the one place that knows scopes and roles of the control plane.

Operators act for any organisation, which they name; alone they may act for none, on their own keys. A management key acts for
its own organisation, and another one does not exist for it. Its role is its member's; a key of nobody's is an administrator's.

A plain member manages the completion keys that belong to him, and no more. Of these he may change whatever he could give a new
one: what binds him is the limit and the role of the member, not a field of a key. So he cannot pass a key to someone else or to
nobody, nor touch a management key, his own included.
"""

from junctor.domain.account import Actor, ApiKey, KeyScope, MemberRole
from junctor.domain.errors import InvalidFieldError, ResourceNotFoundError, ScopeMissingError
from junctor.domain.rates import Rates

ADMINS = frozenset({MemberRole.ADMIN})
READERS = frozenset({MemberRole.ADMIN, MemberRole.BILLING})
OWNERS = frozenset({MemberRole.ADMIN, MemberRole.MEMBER})
EVERYONE = frozenset(MemberRole)


def account_for(actor: Actor, organisation: str, roles: frozenset[MemberRole]) -> str:
    """Return the account that a call is about; `organisation` is what it names, empty for the caller's own.

    Raises:
        InvalidFieldError: an operator names none.
        ResourceNotFoundError: it is not the caller's own, whether there is one or not.
        ScopeMissingError: the caller's role is not among these.
    """
    if actor.scope is KeyScope.OPERATOR:
        if not organisation:
            raise InvalidFieldError(("organisation", "is missing: operators have none of their own"))
        return organisation
    if organisation not in {"", actor.account}:
        raise ResourceNotFoundError("organisation", organisation)
    require_role(actor, roles)
    return actor.account


def require_role(actor: Actor, roles: frozenset[MemberRole]) -> None:
    """Raise ScopeMissingError unless the caller has one of these roles."""
    if actor.role not in roles:
        raise ScopeMissingError("The role of this API key's member does not allow that.", role=actor.role.value)


def require_operator(actor: Actor) -> None:
    """Raise ScopeMissingError unless the caller is an operator."""
    if actor.scope is not KeyScope.OPERATOR:
        raise ScopeMissingError("Only operators may do that.", scope=KeyScope.OPERATOR.value)


def sees(actor: Actor, key: ApiKey) -> bool:
    """Tell whether an API key of the account that the caller acts for exists for him."""
    if actor.role is not MemberRole.MEMBER:
        return True
    return actor.member is not None and key.member == actor.member and key.scope is KeyScope.COMPLETION


def check_key(actor: Actor, key: ApiKey) -> None:
    """Judge an API key as it shall be.

    Raises:
        InvalidFieldError: it has what is not for keys of its scope.
        ScopeMissingError: the caller may not make such a key.
    """
    if key.scope is KeyScope.OPERATOR:
        require_operator(actor)
    if actor.role is MemberRole.MEMBER:
        if key.scope is not KeyScope.COMPLETION:
            raise ScopeMissingError("A member may make completion keys only.", role=actor.role.value)
        if key.member != actor.member:
            raise ScopeMissingError("A member's keys belong to himself.", role=actor.role.value)
    _check_fields(key)


def _check_fields(key: ApiKey) -> None:
    """Refuse what would not be heeded: someone would rely on it."""
    for_completions = {
        "workspace": key.workspace is not None,
        "allowed_models": key.allowed_models is not None,
        "allowed_providers": key.allowed_providers is not None,
        "rates": key.rates != Rates(),
    }
    if key.scope is not KeyScope.COMPLETION:
        given = [name for name, is_given in for_completions.items() if is_given]
        given += ["member"] if key.scope is KeyScope.OPERATOR and key.member is not None else []
        if given:
            raise InvalidFieldError(*((name, f"is not for {key.scope.value} keys") for name in given))
