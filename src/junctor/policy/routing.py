"""From a call and three snapshots to a plan: which endpoints, in what order, and why the others were left out.

Pure: the same call and snapshots give the same plan. Every endpoint of the model appears once, as candidate or as exclusion.
"""

import difflib

from junctor.domain.call import Call, Snapshots
from junctor.domain.catalog import Catalog, Endpoint, PriceCard
from junctor.domain.completion import CompletionSpec, ImagePart
from junctor.domain.errors import ModelNotAllowedError, ModelNotFoundError
from junctor.domain.routing import Candidate, Exclusion, Plan
from junctor.policy import pricing

CANDIDATES_MAX = 3
NEAR_NAMES_MAX = 3


def plan(call: Call, snapshots: Snapshots) -> Plan:
    """Order the endpoints of the model that is asked for, in catalogue order.

    Raises:
        ModelNotFoundError: the catalogue has no such model.
        ModelNotAllowedError: the caller's key does not allow it.
    """
    model = _model(snapshots.catalog, call.spec.model)
    allowed = call.caller.allowed_models
    if allowed is not None and model not in allowed:
        raise ModelNotAllowedError("This API key may not ask for this model.", model=model)
    endpoints = snapshots.catalog.endpoints.get(model, ())
    needs_image = _has_image(call.spec)
    candidates: list[Candidate] = []
    excluded: list[Exclusion] = []
    for endpoint in endpoints:
        judged = _judge(endpoint, call, snapshots, needs_image=needs_image)
        if isinstance(judged, Candidate) and len(candidates) < CANDIDATES_MAX:
            candidates.append(judged)
        else:
            excluded.append(Exclusion(endpoint, judged if isinstance(judged, str) else "BEYOND_FALLBACK_LIMIT"))
    return Plan(tuple(candidates), tuple(excluded))


def _model(catalog: Catalog, name: str) -> str:
    if name in catalog.models:
        return name
    for model in catalog.models.values():
        if name in model.aliases:
            return model.slug
    raise ModelNotFoundError(name, tuple(difflib.get_close_matches(name, catalog.models, NEAR_NAMES_MAX)))


def _judge(endpoint: Endpoint, call: Call, snapshots: Snapshots, *, needs_image: bool) -> Candidate | str:
    provider = snapshots.catalog.providers[endpoint.provider]
    present = snapshots.credentials.get(endpoint.provider, ())
    allowed = call.caller.allowed_providers
    if allowed is not None and endpoint.provider not in allowed:
        return "PROVIDER_NOT_ALLOWED"
    if not endpoint.base_url:
        return "NOT_RUNNING"
    if provider.credentials and not present:
        return "CREDENTIALS_MISSING"
    price = price_in_force(snapshots.catalog.prices.get(endpoint.id, ()), snapshots.now_ms)
    if price is None or not pricing.is_known(price, service_tier(endpoint, call.spec)):
        return "PRICE_UNKNOWN"
    if needs_image and "image" not in endpoint.input_modalities:
        return "MODALITY_UNSUPPORTED"
    return Candidate(endpoint, present[0] if present else None, price)


def service_tier(endpoint: Endpoint, spec: CompletionSpec) -> str | None:
    """Return the service tier that is asked of an endpoint: none where it knows no tiers, as none is sent there."""
    return spec.service_tier if "service_tier" in endpoint.parameters else None


def price_in_force(cards: tuple[PriceCard, ...], now_ms: int) -> PriceCard | None:
    """Return the first card that is valid at an instant (Unix milliseconds), None if there is none."""
    now = now_ms // 1000
    for card in cards:
        if (card.valid_from is None or card.valid_from <= now) and (card.valid_to is None or now < card.valid_to):
            return card
    return None


def _has_image(spec: CompletionSpec) -> bool:
    return any(isinstance(part, ImagePart) for message in spec.messages for part in message.parts)
