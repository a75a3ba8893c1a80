"""Which credentials open which provider? Those whose variable, or a numbered one beside it, has a value.

OPENAI_API_KEY may have OPENAI_API_KEY_2 to OPENAI_API_KEY_16 beside it, each of another account or project at the provider. It
tells names and weights, never a value. Invariant: no two names of a provider have the same value, as what is throttled or
refused under one name would be so under the other.

Refuses to number the secrets of private endpoints: ENDPOINT_KEY_GPU_2 may be that of another endpoint, and must not come here.
"""

from collections.abc import Mapping
from typing import Final

from junctor.adapters.secrets.environment import EnvironmentSecrets
from junctor.domain.catalog import Provider
from junctor.domain.overlay import CREDENTIAL_PREFIX
from junctor.domain.routing import Credential

NUMBERED_MAX: Final = 16


class CredentialsAtHand:
    """The credentials of all providers, looked up anew when the providers or the secrets change."""

    def __init__(self, secrets: EnvironmentSecrets, weights: Mapping[str, float]) -> None:
        """Take weights by name; 1 where none is named."""
        self._secrets = secrets
        self._weights = weights
        self._seen: tuple[Mapping[str, Provider], int] | None = None
        self._found: Mapping[str, tuple[Credential, ...]] = {}

    def of(self, providers: Mapping[str, Provider]) -> Mapping[str, tuple[Credential, ...]]:
        """Return the credentials of each provider: the same mapping until anything changed."""
        version = self._secrets.version
        if self._seen is None or self._seen[0] is not providers or self._seen[1] != version:
            self._found = {slug: self._opening(provider) for slug, provider in providers.items()}
            self._seen = providers, version
        return self._found

    def _opening(self, provider: Provider) -> tuple[Credential, ...]:
        named: dict[str, str] = {}
        for variable in provider.credentials:
            for name in _names(variable):
                value = self._secrets.get(name)
                if value is not None:
                    named.setdefault(value, name)
        return tuple(Credential(name, self._weights.get(name, 1.0)) for name in named.values())


def _names(variable: str) -> tuple[str, ...]:
    if variable.startswith(CREDENTIAL_PREFIX):
        return (variable,)
    return (variable, *(f"{variable}_{number}" for number in range(2, NUMBERED_MAX + 1)))
