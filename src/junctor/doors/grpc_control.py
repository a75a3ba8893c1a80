"""A service of the control plane on grpc.aio: every method that has a row, and no other."""

from collections.abc import Mapping

import grpc

from junctor.doors.grpc_calls import Unary, unary


def handlers(service: str, methods: Mapping[str, Unary]) -> grpc.GenericRpcHandler:
    """Return a service as grpc takes it, by its full name and its methods' names."""
    return grpc.method_handlers_generic_handler(service, {name: unary(method) for name, method in methods.items()})
