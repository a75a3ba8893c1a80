"""What of an answer the caller wants to see: reasoning is taken out where he excluded it, as not every provider does so."""

from collections.abc import Sequence

import msgspec

from junctor.domain.completion import Completion, CompletionSpec, Delta, StreamEnd
from junctor.domain.routing import Failure

Items = tuple[Delta | StreamEnd | Failure, ...]


def seen(items: Items, spec: CompletionSpec) -> Items:
    """Return a batch without excluded reasoning; deltas that held nothing else are gone, and the batch may be empty."""
    return _without_reasoning(items) if spec.excludes_reasoning else items


def answer(completion: Completion, spec: CompletionSpec) -> Completion:
    """Return a whole answer without excluded reasoning."""
    if not spec.excludes_reasoning:
        return completion
    choices = tuple(
        msgspec.structs.replace(choice, message=msgspec.structs.replace(choice.message, reasoning=None, reasoning_details=()))
        for choice in completion.choices
    )
    return msgspec.structs.replace(completion, choices=choices)


def _without_reasoning(items: Sequence[Delta | StreamEnd | Failure]) -> Items:
    kept: list[Delta | StreamEnd | Failure] = []
    for item in items:
        if isinstance(item, Delta) and (item.reasoning is not None or item.reasoning_details):
            bare = msgspec.structs.replace(item, reasoning=None, reasoning_details=())
            if bare.content is not None or bare.tool_calls or bare.refusal is not None:
                kept.append(bare)
        else:
            kept.append(item)
    return tuple(kept)
