"""What is particular to each provider, as data: one row of providers.toml, parsed once.

A row says which wire API the provider speaks, where its secret goes and how it deviates. Addresses, prices and names of secrets
are the catalogue's. Whatever is wrong with a row, or with an endpoint that has none, is an error at start and not at a call.
A provider without a row is the operator's own, as no catalogue with such a one comes into force.

A row may name a wire API that Junctor does not speak yet: one of PLANNED. No call gets that far, as routing leaves out
endpoints whose dialect is missing.
"""

import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from importlib import resources
from typing import Literal

import msgspec
from msgspec import Struct

from junctor.adapters.providers.dialect import Quirks
from junctor.domain.catalog import Endpoint

PLANNED = frozenset(
    {
        "anthropic_messages",
        "azure_embeddings",
        "azure_inference",
        "azure_openai",
        "bedrock_converse",
        "cohere_chat",
        "cohere_embed",
        "gemini_embed",
        "gemini_generate",
        "openai_embeddings",
        "openai_responses",
        "vertex_anthropic",
        "vertex_gemini",
        "vertex_openai",
        "watsonx_chat",
    }
)
"""Dialects that the catalogue may name before they are written; any other name is a slip."""

_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


class RegistryError(Exception):
    """providers.toml, or an endpoint beside it, is wrong; the message names the place."""


class Auth(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a secret goes: `Authorization: Bearer`, bare into a header of its own, or nowhere."""

    style: Literal["bearer", "header", "none"] = "bearer"
    header: Literal["api-key", "x-api-key", "x-goog-api-key"] | None = None

    def __post_init__(self) -> None:
        """Refuse a header that would not be used, and a use without a header."""
        if (self.style == "header") != (self.header is not None):
            raise ValueError("a header belongs to the style 'header' and to no other")


class ProviderRow(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One provider. `also` names further dialects that endpoints of its own speak, under the same secret."""

    dialect: str
    also: tuple[str, ...] = ()
    auth: Auth = Auth()
    quirks: Quirks = Quirks()


OWN = ProviderRow(dialect="openai_chat", quirks=Quirks(max_tokens_field="max_tokens"))
"""What the operator's own servers speak: the field of that name is the one that vLLM, llama.cpp, Ollama and SGLang all read."""


class Registry:
    """All rows, by the provider's slug."""

    def __init__(self, rows: Mapping[str, ProviderRow]) -> None:
        """Keep the rows."""
        self._rows = rows

    def row(self, provider: str) -> ProviderRow:
        """Return a provider's row, OWN for one of the operator's own."""
        return self._rows.get(provider, OWN)

    def check_dialects(self, dialects: Collection[str]) -> None:
        """Make sure that every row's dialects exist or are planned. Raises RegistryError."""
        for provider, row in self._rows.items():
            for dialect in (row.dialect, *row.also):
                if dialect not in dialects and dialect not in PLANNED:
                    raise RegistryError(f"providers.toml, row {provider!r}: there is no dialect {dialect!r}")

    def check_endpoints(self, endpoints: Iterable[Endpoint]) -> None:
        """Make sure that every endpoint's provider has a row, and the endpoint its dialect. Raises RegistryError."""
        for endpoint in endpoints:
            row = self._rows.get(endpoint.provider)
            if row is None:
                raise RegistryError(f"providers.toml has no row {endpoint.provider!r}")
            if endpoint.dialect != row.dialect and endpoint.dialect not in row.also:
                raise RegistryError(f"endpoint {endpoint.id!r}: its provider speaks {row.dialect!r}, not {endpoint.dialect!r}")

    def dialects(self) -> Mapping[str, str]:
        """Return the main dialect of each provider."""
        return {provider: row.dialect for provider, row in self._rows.items()}


def parse(text: str) -> Registry:
    """Read rows from TOML text. Raises RegistryError."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RegistryError(f"providers.toml is not TOML: {error}") from None
    rows = {}
    for slug, table in tables.items():
        if _SLUG.fullmatch(slug) is None:
            raise RegistryError(f"providers.toml, row {slug!r}: a slug is lower-case words joined by hyphens")
        try:
            rows[slug] = msgspec.convert(table, ProviderRow)
        except msgspec.ValidationError as error:
            raise RegistryError(f"providers.toml, row {slug!r}: {error}") from None
    return Registry(rows)


def load() -> Registry:
    """Read the packaged rows. Raises RegistryError."""
    return parse(resources.files(__package__).joinpath("providers.toml").read_text(encoding="utf-8"))
