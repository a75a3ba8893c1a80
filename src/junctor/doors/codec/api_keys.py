"""API keys between proto and domain. A secret is written by the one method whose answer it is, never here."""

import re
from collections.abc import Mapping

import msgspec
from msgspec import UNSET

from junctor.domain.account import ApiKey, KeyScope
from junctor.domain.rates import Rates
from junctor.doors.codec import forms
from junctor.doors.codec.checks import Checks
from junctor.usecases.api_keys import ApiKeyChange, NewApiKey
from junctor.v1 import account_service_pb2 as pb

NAMES_MAX, NAMES_BYTES_MAX = 100, 4_096
"""The most names of an allow list, and of bytes: every instance reads a key anew each minute."""

OLD_SECRET_DEFAULT_S, OLD_SECRET_MAX_S = 86_400, 30 * 86_400
RATE_MAX = 1_000_000_000
_MODEL = re.compile(r"[A-Za-z0-9~][A-Za-z0-9._~-]*/[A-Za-z0-9][A-Za-z0-9._:~-]*", re.ASCII)
_PROVIDER = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
_SCOPES: Mapping[int, KeyScope] = {
    pb.API_KEY_SCOPE_COMPLETION: KeyScope.COMPLETION,
    pb.API_KEY_SCOPE_MANAGEMENT: KeyScope.MANAGEMENT,
    pb.API_KEY_SCOPE_OPERATOR: KeyScope.OPERATOR,
}
_WRITTEN_SCOPES = {scope: pb.ApiKeyScope.Value(f"API_KEY_SCOPE_{scope.name}") for scope in KeyScope}


def api_key(key: ApiKey) -> pb.ApiKey:
    """Write an API key, of which only secrets that live are given."""
    return pb.ApiKey(
        id=key.lookup_id,
        name=key.name,
        scope=_WRITTEN_SCOPES[key.scope],
        created_at_ms=key.created_at_ms,
        disabled=key.disabled,
        expires_at_ms=key.expires_at_ms,
        workspace=key.workspace or "",
        member=key.member or "",
        allowed_models=_written(key.allowed_models),
        allowed_providers=_written(key.allowed_providers),
        rates=None if key.rates.unlimited else pb.Rates(**msgspec.structs.asdict(key.rates)),
        old_secret_until_ms=key.secrets[1].until_ms if len(key.secrets) > 1 else None,
    )


def new_api_key(request: pb.CreateApiKeyRequest, checks: Checks) -> NewApiKey:
    """Read what a key shall be."""
    expires = forms.instant(request.expires_at_ms, "expires_at_ms", checks) if request.HasField("expires_at_ms") else None
    return NewApiKey(
        name=forms.name(request.name, checks),
        scope=checks.member(request.scope, _SCOPES, "scope") or KeyScope.COMPLETION,
        expires_at_ms=expires,
        workspace=_belonging(request.workspace, "workspace", checks),
        member=_belonging(request.member, "member", checks),
        allowed_models=_models(request.allowed_models, checks) if request.HasField("allowed_models") else None,
        allowed_providers=_providers(request.allowed_providers, checks) if request.HasField("allowed_providers") else None,
        rates=_rates(request.rates, checks),
    )


def api_key_change(request: pb.UpdateApiKeyRequest, checks: Checks) -> ApiKeyChange:
    """Read what shall be different about a key."""
    models = None if request.allow_all_models else UNSET
    providers = None if request.allow_all_providers else UNSET
    if request.HasField("allowed_models") and request.allow_all_models:
        checks.wrong("allow_all_models", "contradicts allowed_models")
    if request.HasField("allowed_providers") and request.allow_all_providers:
        checks.wrong("allow_all_providers", "contradicts allowed_providers")
    expires = forms.instant(request.expires_at_ms, "expires_at_ms", checks) if request.expires_at_ms else None
    return ApiKeyChange(
        name=forms.name(request.name, checks) if request.HasField("name") else UNSET,
        disabled=request.disabled if request.HasField("disabled") else UNSET,
        expires_at_ms=expires if request.HasField("expires_at_ms") else UNSET,
        workspace=_belonging(request.workspace, "workspace", checks) if request.HasField("workspace") else UNSET,
        member=_belonging(request.member, "member", checks) if request.HasField("member") else UNSET,
        allowed_models=_models(request.allowed_models, checks) if request.HasField("allowed_models") else models,
        allowed_providers=_providers(request.allowed_providers, checks) if request.HasField("allowed_providers") else providers,
        rates=_rates(request.rates, checks) if request.HasField("rates") else UNSET,
    )


def old_secret_for_s(request: pb.RotateApiKeyRequest, checks: Checks) -> int:
    """Read how long the old secret is still taken, in seconds."""
    if not request.HasField("old_secret_for_s"):
        return OLD_SECRET_DEFAULT_S
    checks.number(request.old_secret_for_s, 0, OLD_SECRET_MAX_S, "old_secret_for_s")
    return request.old_secret_for_s


def _belonging(value: str, path: str, checks: Checks) -> str | None:
    return forms.identifier(value, path, checks) if value else None


def _written(names: tuple[str, ...] | None) -> pb.AllowList | None:
    return None if names is None else pb.AllowList(names=names)


def _models(given: pb.AllowList, checks: Checks) -> tuple[str, ...]:
    return _names(given, _MODEL, "allowed_models", "a model, author/name", checks)


def _providers(given: pb.AllowList, checks: Checks) -> tuple[str, ...]:
    return _names(given, _PROVIDER, "allowed_providers", "a provider's slug", checks)


def _names(given: pb.AllowList, form: re.Pattern[str], path: str, what: str, checks: Checks) -> tuple[str, ...]:
    path = f"{path}.names"
    if not checks.count(len(given.names), NAMES_MAX, path):
        return ()
    if sum(len(name.encode()) for name in given.names) > NAMES_BYTES_MAX:
        checks.wrong(path, f"has more than {NAMES_BYTES_MAX} bytes")
    for place, name in enumerate(given.names):
        if not form.fullmatch(name):
            checks.wrong(f"{path}[{place}]", f"is not {what}")
    return tuple(dict.fromkeys(given.names))


def _rates(given: pb.Rates, checks: Checks) -> Rates:
    fields = {field.name: value for field, value in given.ListFields()}
    for name, value in fields.items():
        checks.number(value, 1, RATE_MAX, f"rates.{name}")
    return Rates(**fields)
