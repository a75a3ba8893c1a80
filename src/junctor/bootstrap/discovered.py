"""`junctor up` and the model servers of this machine: looked for at start and every half minute, and laid into the catalogue.

A server is a provider by the name of its kind, and its models are authored by it: `ollama/llama3.2`. They cost nothing, and say
so with a price of 0 from the source `local`. A change is told to the log once; that nothing changed is told to nobody.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from junctor.adapters.catalog.packaged import PackagedCatalog
from junctor.adapters.local.discovery import PORTS, Found, discover, slug
from junctor.domain.catalog import Endpoint, Model, PriceCard, PriceParts, Provider
from junctor.policy.overlay import Additions, with_additions
from junctor.ports.ambient import Clock
from junctor.ports.telemetry import Telemetry

EVERY_S = 30.0
NAMES = {"ollama": "Ollama", "lmstudio": "LM Studio", "llama-server": "llama-server", "vllm": "vLLM"}
PARAMETERS = (
    "max_tokens",
    "stop",
    "temperature",
    "top_p",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "response_format",
    "tools",
)
"""What all four read; what one of them cannot do with some model, it says itself."""


class Discovery:
    """Keeps what was found in force."""

    def __init__(self, catalog: PackagedCatalog, clock: Clock, telemetry: Telemetry, ports: Sequence[int] = PORTS) -> None:
        self._catalog = catalog
        self._clock = clock
        self._telemetry = telemetry
        self._ports = ports
        self._found: tuple[Found, ...] = ()

    async def look(self) -> bool:
        """Look once, and tell whether anything is other than at the last look."""
        found = await discover(self._ports)
        if found == self._found:
            return False
        self._found = found
        today = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC).date().isoformat()
        additions = additions_of(found, today)
        self._catalog.discovered(lambda catalog: with_additions(catalog, additions))
        models = {NAMES[server.kind]: len(server.models) for server in found}
        self._telemetry.event("model servers on this machine", {"found": ", ".join(f"{k}: {n}" for k, n in models.items())})
        return True

    async def forever(self) -> None:
        """Look every half minute."""
        while True:
            await asyncio.sleep(EVERY_S)
            await self.look()


def additions_of(found: Sequence[Found], today: str) -> Additions:
    """Return what was found as rows of a catalogue; of two names that make one slug, the first counts."""
    models: dict[str, Model] = {}
    endpoints: list[Endpoint] = []
    for server in found:
        for served in server.models:
            model = slug(server.kind, served.name)
            if model in models:
                continue
            models[model] = Model(slug=model, name=served.name, context_tokens=served.context_tokens)
            endpoints.append(
                Endpoint(
                    id=f"{server.kind}/{model}",
                    model=model,
                    provider=server.kind,
                    upstream_model=served.name,
                    dialect="openai_chat",
                    base_url=server.base_url,
                    context_tokens=served.context_tokens,
                    parameters=PARAMETERS,
                )
            )
    card = PriceCard(version=f"local-{today}", parts=PriceParts(input=0, output=0), source="local", as_of=today)
    return Additions(
        providers=tuple(Provider(slug=server.kind, name=NAMES[server.kind]) for server in found),
        models=tuple(models.values()),
        endpoints=tuple(endpoints),
        prices={endpoint.id: (card,) for endpoint in endpoints},
    )
