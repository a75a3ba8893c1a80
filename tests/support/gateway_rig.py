"""A gateway on the real transport and dialect, in front of a scripted upstream, with made-up secrets and short timers."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from junctor.adapters.net.face import Limits
from junctor.adapters.providers import registry
from junctor.adapters.providers.dialect import Dialect
from junctor.adapters.providers.dialects.openai_chat import OpenAIChat
from junctor.adapters.providers.gateway import Gateway
from junctor.domain.catalog import Endpoint, PriceCard, PriceParts
from junctor.domain.completion import CompletionSpec, Delta, Message, Role, StreamEnd, TextPart
from junctor.domain.routing import Candidate, Failure, Timers
from junctor.ports.secrets import Peppers
from junctor.ports.upstream import Batch
from tests.support import transports

SECRET = "canary-7f3a9b2c"
"""The secret of the credential KEY."""

MESSAGES = (Message(Role.USER, (TextPart("Hello?"),)),)
"""A conversation that begins."""

SPEC = CompletionSpec(model="test/model", messages=MESSAGES)
"""A request that every endpoint understands."""

TIMERS = Timers(connect_s=5.0, first_token_s=5.0, idle_s=5.0, total_s=10.0)
"""Timers that no healthy test reaches."""


class FixedSecrets:
    """Secrets from a mapping."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._secrets = secrets

    def get(self, name: str) -> str | None:
        """Return a secret by name."""
        return self._secrets.get(name)

    def peppers(self) -> Peppers:
        """Return a pepper of no worth."""
        return Peppers(1, {1: b"pepper"})


def candidate(
    base_url: str, *, provider: str = "local", credential: str | None = "KEY", parameters: tuple[str, ...] = ()
) -> Candidate:
    """Return a candidate at this address."""
    endpoint = Endpoint(
        id=f"{provider}/test/model",
        model="test/model",
        provider=provider,
        upstream_model="model",
        dialect="openai_chat",
        base_url=base_url,
        parameters=parameters,
    )
    return Candidate(endpoint, credential, PriceCard(version="1", parts=PriceParts(), source="test", as_of="2026-11-01"))


@asynccontextmanager
async def gateway(
    secrets: Mapping[str, str] | None = None, limits: Limits | None = None, dialect: Dialect | None = None
) -> AsyncIterator[Gateway]:
    """Make a gateway and close its connections afterwards."""
    transport = transports.chosen(limits)
    fixed = FixedSecrets({"KEY": SECRET} if secrets is None else secrets)
    try:
        yield Gateway(registry.load(), {"openai_chat": dialect or OpenAIChat()}, transport, fixed)
    finally:
        await transport.close()


async def batches(gate: Gateway, base_url: str, timers: Timers = TIMERS, spec: CompletionSpec = SPEC) -> list[Batch]:
    """Take a stream to its end."""
    return [batch async for batch in gate.stream(candidate(base_url), spec, timers)]


def text_of(taken: list[Batch]) -> str:
    """Return the content of all deltas."""
    return "".join(part.content or "" for batch in taken for part in batch if isinstance(part, Delta))


def end_of(taken: list[Batch]) -> StreamEnd | Failure:
    """Return the last part, which must be the only one that ends the stream."""
    parts = [part for batch in taken for part in batch]
    assert all(isinstance(part, Delta) for part in parts[:-1])
    assert isinstance(parts[-1], StreamEnd | Failure)
    return parts[-1]


def failure_of(taken: list[Batch]) -> Failure:
    """Return the failure with which a stream ended."""
    end = end_of(taken)
    assert isinstance(end, Failure)
    return end
