"""API keys: made, read, listed, changed, given a new secret, removed. A secret exists only in what making it returns.

A key has one present secret, and at most one more that ends at a known instant. Instances follow every change within a minute
(admit says how). Operators' keys belong to no organisation, and are managed by operators who name none.
"""

import msgspec
from msgspec import UNSET, Struct, UnsetType

from junctor.domain.account import Actor, ApiKey, KeyScope, KeySecret, MemberRole
from junctor.domain.errors import InvalidFieldError, ResourceNotFoundError
from junctor.domain.rates import Rates
from junctor.ledger import trying
from junctor.policy import access, api_keys
from junctor.ports.ambient import Clock, Dice
from junctor.ports.secrets import Secrets
from junctor.ports.table import Done, Operation, Table
from junctor.records import accounts, keys
from junctor.usecases.acting import account_of
from junctor.usecases.editing import Need, applied, edit, page_of


class NewApiKey(Struct, frozen=True, kw_only=True):
    """What a key shall be."""

    name: str
    scope: KeyScope = KeyScope.COMPLETION
    expires_at_ms: int | None = None
    workspace: str | None = None
    member: str | None = None
    allowed_models: tuple[str, ...] | None = None
    allowed_providers: tuple[str, ...] | None = None
    rates: Rates = Rates()


class ApiKeyChange(Struct, frozen=True, kw_only=True):
    """What shall be different; what is not set stays."""

    name: str | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET
    expires_at_ms: int | UnsetType | None = UNSET
    workspace: str | UnsetType | None = UNSET
    member: str | UnsetType | None = UNSET
    allowed_models: tuple[str, ...] | UnsetType | None = UNSET
    allowed_providers: tuple[str, ...] | UnsetType | None = UNSET
    rates: Rates | UnsetType = UNSET


class ApiKeys:
    """What operators, administrators and members do with API keys; policy/access says who may do what.

    Every method raises InvalidFieldError, ResourceNotFoundError and ScopeMissingError for what or whom it is not, and may
    raise StoreError; changing raises ChangedMeanwhileError.
    """

    def __init__(self, table: Table, secrets: Secrets, clock: Clock, dice: Dice) -> None:
        self._table = table
        self._secrets = secrets
        self._clock = clock
        self._dice = dice

    async def create(self, actor: Actor, organisation: str, wanted: NewApiKey) -> tuple[ApiKey, str]:
        """Make a key; return it and its text, which cannot be had again."""
        account = await self._account_for_new(actor, organisation, wanted.scope)
        fields = msgspec.structs.asdict(wanted)
        if fields["member"] is None and wanted.scope is KeyScope.COMPLETION:
            fields["member"] = _own_member(actor)
        self._check_expiry(wanted.expires_at_ms)
        doubt = trying.Doubt()
        while True:
            text = api_keys.mint(self._dice.draw(api_keys.LOOKUP_BYTES), self._dice.draw(api_keys.SECRET_BYTES))
            lookup_id, secret = self._secret(text)
            created_at_ms = self._clock.now_ms()
            key = ApiKey(lookup_id=lookup_id, account=account, secrets=(secret,), created_at_ms=created_at_ms, **fields)
            access.check_key(actor, key)
            needed = _needs(None, key)
            writes: tuple[Operation, ...] = (*accounts.new_api_key(key), *(check for check, _ in needed))
            answer = await trying.transact(self._table, self._dice, writes, doubt)
            if isinstance(answer, Done) or (answer.old is not None and accounts.api_key_item(key) == answer.old):
                return key, text
            if answer.index > 1:
                raise doubt.refused(needed[answer.index - 2][1])

    async def get(self, actor: Actor, organisation: str, lookup_id: str) -> ApiKey:
        """Read a key."""
        return self._shown(await self._read(actor, self._account(actor, organisation, access.EVERYONE), lookup_id))

    async def list(self, actor: Actor, organisation: str, page_size: int, page_token: str) -> tuple[tuple[ApiKey, ...], str]:
        """Read a page of the keys that the caller may see, by id, and the token of the next page, empty at the end."""
        if actor.scope is KeyScope.OPERATOR and not organisation:
            account = ""
        else:
            account = await account_of(self._table, self._dice, actor, organisation, access.EVERYONE)
        query = accounts.listed(account, keys.API_KEY_PREFIX, page_size)
        page = await page_of(self._table, self._dice, query, page_token)
        places = accounts.listed_keys(page.items)
        held = await trying.repeat(self._dice, lambda: self._table.batch_get(places))
        found = sorted(map(accounts.api_key_of, held.items), key=lambda key: key.lookup_id)
        return tuple(self._shown(key) for key in found if access.sees(actor, key)), page.next or ""

    async def update(self, actor: Actor, organisation: str, lookup_id: str, change: ApiKeyChange) -> ApiKey:
        """Change a key."""
        account = self._account(actor, organisation, access.OWNERS)
        if change.expires_at_ms is not UNSET:
            self._check_expiry(change.expires_at_ms)

        def make(old: ApiKey) -> ApiKey:
            new = applied(old, change)
            access.check_key(actor, new)
            return new

        key = await edit(self._table, self._dice, lambda: self._read(actor, account, lookup_id), make, _needs)
        return self._shown(key)

    async def rotate(self, actor: Actor, organisation: str, lookup_id: str, old_secret_for_s: int) -> tuple[ApiKey, str]:
        """Give a key a new secret; return the key and its new text. The secret before is taken for so many seconds more.

        Any older one ends now.
        """
        account = self._account(actor, organisation, access.OWNERS)
        tags = {secret.tag for secret in (await self._read(actor, account, lookup_id)).secrets}
        while True:
            text = api_keys.remint(lookup_id, self._dice.draw(api_keys.SECRET_BYTES))
            fresh = self._secret(text)[1]
            if fresh.tag not in tags:
                break
        until_ms = self._clock.now_ms() + old_secret_for_s * 1000

        def make(old: ApiKey) -> ApiKey:
            if fresh in (msgspec.structs.replace(secret, until_ms=None) for secret in old.secrets):
                return old
            before = msgspec.structs.replace(old.secrets[0], until_ms=until_ms)
            return msgspec.structs.replace(old, secrets=(fresh, before) if old_secret_for_s else (fresh,))

        key = await edit(self._table, self._dice, lambda: self._read(actor, account, lookup_id), make)
        return self._shown(key), text

    async def delete(self, actor: Actor, organisation: str, lookup_id: str) -> None:
        """Remove a key."""
        key = await self._read(actor, self._account(actor, organisation, access.OWNERS), lookup_id)
        await trying.transact(self._table, self._dice, accounts.no_api_key(key))

    async def _account_for_new(self, actor: Actor, organisation: str, scope: KeyScope) -> str:
        if scope is not KeyScope.OPERATOR:
            return await account_of(self._table, self._dice, actor, organisation, access.OWNERS)
        access.require_operator(actor)
        if organisation:
            raise InvalidFieldError(("organisation", "is not for operator keys"))
        return ""

    def _account(self, actor: Actor, organisation: str, roles: frozenset[MemberRole]) -> str:
        """Return the account that a call about a known key is about: none for an operator who names none."""
        if actor.scope is KeyScope.OPERATOR and not organisation:
            return ""
        return access.account_for(actor, organisation, roles)

    async def _read(self, actor: Actor, account: str, lookup_id: str) -> ApiKey:
        found = await trying.get(self._table, self._dice, keys.api_key(lookup_id))
        key = accounts.api_key_of(found) if found is not None else None
        if key is None or key.account != account or not access.sees(actor, key):
            raise ResourceNotFoundError("api_key", lookup_id)
        return key

    def _secret(self, text: str) -> tuple[str, KeySecret]:
        """Return the public part of a text that was just minted, and its secret as it is stored."""
        parsed = api_keys.parse(text)
        assert parsed is not None  # noqa: S101 - a key that was just minted is well formed
        peppers = self._secrets.peppers()
        digest = api_keys.digest(peppers.by_version[peppers.current], parsed.material)
        return parsed.lookup_id, KeySecret(tag=parsed.tag, digest=digest, pepper_version=peppers.current)

    def _shown(self, key: ApiKey) -> ApiKey:
        """Return a key without the secret that has ended."""
        now_ms = self._clock.now_ms()
        live = tuple(secret for secret in key.secrets if secret.until_ms is None or now_ms < secret.until_ms)
        return msgspec.structs.replace(key, secrets=live)

    def _check_expiry(self, expires_at_ms: int | None) -> None:
        if expires_at_ms is not None and expires_at_ms <= self._clock.now_ms():
            raise InvalidFieldError(("expires_at_ms", "is not in the future"))


def _own_member(actor: Actor) -> str | None:
    """Return to whom a new completion key belongs if it is not said: to the member who makes it, if he is a plain one."""
    return actor.member if actor.role is MemberRole.MEMBER else None


def _needs(old: ApiKey | None, new: ApiKey) -> tuple[Need, ...]:
    """Return what must be there for a key to become what it shall be: a member or workspace that it did not have before."""
    needed: list[Need] = []
    if new.member is not None and (old is None or old.member != new.member):
        member = keys.member(new.account, new.member)
        needed.append((accounts.present(member), ResourceNotFoundError("member", new.member)))
    if new.workspace is not None and (old is None or old.workspace != new.workspace):
        workspace = keys.workspace(new.account, new.workspace)
        needed.append((accounts.present(workspace), ResourceNotFoundError("workspace", new.workspace)))
    return tuple(needed)
