"""Health as balancers ask for it: by anybody, without an API key, and beside the gate, so that a crowd does not make it sick.

Who asks without a key could send a request as long as any, slowly, and grpc would keep what has come. A request about health
comes with its head, so hardly anybody is waited for: few at once, each for a moment, and who is last to come takes the place of
who came first. Invariant: requests of strangers take no more memory than ARRIVING_MAX of the longest.
"""

import asyncio
from collections.abc import Sequence
from typing import TypeAlias

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from junctor.domain.errors import DeadlineError, InvalidFieldError, JunctorError, OverloadedError
from junctor.doors.grpc_calls import abort

SERVICE = health.SERVICE_NAME
Context: TypeAlias = "grpc.aio.ServicerContext[HealthCheckRequest, HealthCheckResponse]"
ARRIVING_MAX = 8
ARRIVING_S = 1.0
RETRY_AFTER_S = 1.0


class Health:
    """The health of services, all of which are well or none is."""

    def __init__(self, services: Sequence[str]) -> None:
        self._names = ("", *services)
        self._servicer = health.aio.HealthServicer()
        self._arriving: dict[asyncio.Timeout, None] = {}

    async def report(self, *, serving: bool) -> None:
        """Tell balancers whether calls are welcome here."""
        status = HealthCheckResponse.SERVING if serving else HealthCheckResponse.NOT_SERVING
        for name in self._names:
            await self._servicer.set(name, status)

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the service as grpc takes it."""
        read, write = HealthCheckRequest.FromString, HealthCheckResponse.SerializeToString
        check = grpc.stream_unary_rpc_method_handler(self._check, read, write)
        watch = grpc.stream_stream_rpc_method_handler(self._watch, read, write)
        return grpc.method_handlers_generic_handler(SERVICE, {"Check": check, "Watch": watch})

    async def _check(self, _: object, context: Context) -> HealthCheckResponse:
        answer: HealthCheckResponse = await self._servicer.Check(await self._request(context), context)
        return answer

    async def _watch(self, _: object, context: Context) -> None:
        await self._servicer.Watch(await self._request(context), context)

    async def _request(self, context: Context) -> HealthCheckRequest:
        """Read a request, or end the call."""
        try:
            request = await self._read(context)
            if isinstance(request, HealthCheckRequest):
                return request
            raise InvalidFieldError(("request", "is missing"))
        except DecodeError:
            await abort(context, InvalidFieldError(("request", f"is not a {HealthCheckRequest.DESCRIPTOR.full_name}")))
        except JunctorError as error:
            await abort(context, error)

    async def _read(self, context: Context) -> object:
        """Wait for what is sent. Raises DeadlineError where that takes too long, OverloadedError for whoever came later."""
        if len(self._arriving) >= ARRIVING_MAX:
            first = next(iter(self._arriving))
            del self._arriving[first]
            if not first.expired():
                first.reschedule(asyncio.get_running_loop().time())
        bound = asyncio.timeout(ARRIVING_S)
        try:
            async with bound:
                self._arriving[bound] = None
                return await context.read()
        except TimeoutError:
            if bound in self._arriving:
                raise DeadlineError("receipt") from None
            raise OverloadedError("Too much is under way here; nothing was done.", RETRY_AFTER_S, limit="health") from None
        finally:
            self._arriving.pop(bound, None)
