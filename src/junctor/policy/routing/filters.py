"""Which endpoints may not take a call, and why? One word for each reason; the first in this order is told.

| reason | the endpoint |
|---|---|
| NOT_RUNNING | has no address yet: its server does not run |
| DIALECT_UNSUPPORTED | speaks a wire API that this version has not |
| CREDENTIALS_MISSING | wants a credential, and none is set |
| PRICE_UNKNOWN | has no price, or none now, in the service tier that is asked for, or for sound that is sent or made |
| PAID | costs something, though a `:free` model is asked for |
| MODEL_NOT_ALLOWED, PROVIDER_NOT_ALLOWED | may not be used with this API key |
| PROVIDER_NOT_IN_ONLY, PROVIDER_IGNORED | is left out by `only` or `ignore` |
| FALLBACK_NOT_ALLOWED | is not in `order`, or not the first, and `allow_fallbacks` is false |
| QUANTIZATION | has weights in another number format than those named |
| DATA_COLLECTION | keeps or trains on what it is sent, or does not say that it does not |
| ZDR | does not promise to retain nothing |
| PARAMETERS_UNSUPPORTED | lacks a parameter of the request, and `require_parameters` is true |
| MODALITY_UNSUPPORTED | does not take, or does not make, what the request has |
| OUTPUT_TOO_SHORT | makes at most fewer tokens than `max_tokens` |
| CONTEXT_TOO_SHORT | cannot hold the input, counted as low as can be, and `max_tokens` |
| MAX_PRICE | may cost more than `max_price` for some unit |
| BEYOND_FALLBACK_LIMIT | could be tried, but three others of its model go before it |

A filter is asked only where the call gives it something to do. What is not known of an endpoint speaks against it where the
caller asks for a promise (policies), and for it where only a limit of ours would be guessed (context, output).
"""

from collections.abc import Callable, Iterator

from junctor.domain.call import Call
from junctor.domain.catalog import Catalog, Quantization
from junctor.domain.errors import InvalidFieldError
from junctor.domain.routing import RoutingPreferences
from junctor.policy.routing.asking import Asked, parameters
from junctor.policy.routing.prepared import Row, Served

Refuses = Callable[[Row], bool]

_NO_PREFERENCES = RoutingPreferences()
_KINDS = {
    Quantization.FP4: (Quantization.FP4, Quantization.MXFP4, Quantization.NVFP4),
    Quantization.FP8: (Quantization.FP8, Quantization.MXFP8),
}
"""Number formats that stand for several."""


def filters(call: Call, asked: Asked, served: Served) -> list[tuple[str, Refuses]]:
    """Return the filters that a call gives something to do, in the order of the table, each with its reason."""
    found: list[tuple[str, Refuses]] = []
    if call.caller.allowed_providers is not None:
        found.append(("PROVIDER_NOT_ALLOWED", _outside(call.caller.allowed_providers)))
    if call.preferences != _NO_PREFERENCES:
        found += _preferred(call)
    if not (asked.media <= served.inputs and asked.outputs <= served.outputs):
        found.append(("MODALITY_UNSUPPORTED", lambda row: not (asked.media <= row.inputs and asked.outputs <= row.outputs)))
    if asked.max_tokens > served.output_least:
        found.append(("OUTPUT_TOO_SHORT", lambda row: asked.max_tokens > row.output_tokens_max))
    least = asked.input_least + asked.max_tokens
    if least > served.context_least:
        found.append(("CONTEXT_TOO_SHORT", lambda row: least > row.context_tokens))
    return found


def check_providers(call: Call, catalog: Catalog) -> None:
    """Refuse preferences that name a provider that there is not. Raises InvalidFieldError."""
    preferences = call.preferences
    if not (preferences.order or preferences.only or preferences.ignore):
        return
    if {*preferences.order, *(preferences.only or ()), *preferences.ignore} <= catalog.providers.keys():
        return
    lists = (
        ("preferences.order", preferences.order),
        ("preferences.only.providers", preferences.only or ()),
        ("preferences.ignore", preferences.ignore),
    )
    unknown = [
        (f"{path}[{place}]", "names no provider of the catalogue")
        for path, slugs in lists
        for place, slug in enumerate(slugs)
        if slug not in catalog.providers
    ]
    raise InvalidFieldError(*unknown)


def _preferred(call: Call) -> Iterator[tuple[str, Refuses]]:
    preferences = call.preferences
    if preferences.only is not None:
        yield "PROVIDER_NOT_IN_ONLY", _outside(preferences.only)
    if preferences.ignore:
        ignored = frozenset(preferences.ignore)
        yield "PROVIDER_IGNORED", lambda row: row.provider in ignored
    if preferences.order and not preferences.allow_fallbacks:
        yield "FALLBACK_NOT_ALLOWED", _outside(preferences.order)
    if preferences.quantizations:
        kinds = frozenset(kind for named in preferences.quantizations for kind in _KINDS.get(named, (named,)))
        yield "QUANTIZATION", lambda row: row.endpoint.quantization not in kinds
    if preferences.data_collection is False:
        yield "DATA_COLLECTION", _may_collect
    if preferences.zdr:
        yield "ZDR", lambda row: row.policy.zdr is not True
    if preferences.require_parameters:
        wanted = parameters(call.spec)
        yield "PARAMETERS_UNSUPPORTED", lambda row: not wanted <= row.parameters


def _outside(slugs: tuple[str, ...]) -> Refuses:
    named = frozenset(slugs)
    return lambda row: row.provider not in named


def _may_collect(row: Row) -> bool:
    policy = row.policy
    return policy.trains is not False or (policy.retains is not False and policy.zdr is not True)
