"""What of an answer the caller wants to see: reasoning is taken out where he excluded it, as not every provider does so.

Log probabilities that came with reasoning go with it: some hosts list the tokens of thoughts among those of the content.
"""

from collections.abc import Sequence

import msgspec

from junctor.domain.completion import Choice, Completion, CompletionSpec, Delta, StreamEnd
from junctor.domain.routing import Failure

Items = tuple[Delta | StreamEnd | Failure, ...]


def seen(items: Items, spec: CompletionSpec) -> Items:
    """Return a batch without excluded reasoning; deltas that held nothing else are gone, and the batch may be empty."""
    return _without_reasoning(items) if spec.excludes_reasoning else items


def answer(completion: Completion, spec: CompletionSpec) -> Completion:
    """Return a whole answer without excluded reasoning."""
    if not spec.excludes_reasoning:
        return completion
    return msgspec.structs.replace(completion, choices=tuple(map(_bare, completion.choices)))


def _bare(choice: Choice) -> Choice:
    message = choice.message
    if message.reasoning is None and not message.reasoning_details:
        return choice
    bare = msgspec.structs.replace(message, reasoning=None, reasoning_details=())
    return msgspec.structs.replace(choice, message=bare, logprobs=None)


def _without_reasoning(items: Sequence[Delta | StreamEnd | Failure]) -> Items:
    kept: list[Delta | StreamEnd | Failure] = []
    for item in items:
        if isinstance(item, Delta) and (item.reasoning is not None or item.reasoning_details):
            bare = msgspec.structs.replace(item, reasoning=None, reasoning_details=(), logprobs=None)
            if bare != Delta(item.index):
                kept.append(bare)
        else:
            kept.append(item)
    return tuple(kept)
