"""UsageService as a table of methods: which generations there were, for completion and management keys alike.

What a caller may see is the use case's to say; an operator's key has no organisation whose generations it could mean.
"""

from junctor.domain.account import Actor, KeyScope
from junctor.doors.codec import forms
from junctor.doors.codec import generations as codec
from junctor.doors.codec.checks import Checks, Limits
from junctor.doors.rpc.methods import Method, Methods
from junctor.usecases.generations import Generations
from junctor.v1 import usage_service_pb2 as pb

SCOPES = frozenset({KeyScope.COMPLETION, KeyScope.MANAGEMENT})


def methods(generations: Generations) -> Methods:
    """Return the methods of UsageService."""

    async def get_generation(actor: Actor, request: pb.GetGenerationRequest) -> pb.GetGenerationResponse:
        found = await generations.get(actor, request.generation_id)
        return pb.GetGenerationResponse(generation=codec.generation(found))

    async def list_generations(actor: Actor, request: pb.ListGenerationsRequest) -> pb.ListGenerationsResponse:
        checks = Checks(Limits())
        size, token = forms.page_size(request.page_size, checks), forms.page_token(request.page_token, checks)
        checks.done()
        found, following = await generations.list(actor, size, token, request.api_key)
        return pb.ListGenerationsResponse(generations=map(codec.generation, found), next_page_token=following)

    return {
        "GetGeneration": Method(pb.GetGenerationRequest, SCOPES, get_generation),
        "ListGenerations": Method(pb.ListGenerationsRequest, SCOPES, list_generations),
    }
