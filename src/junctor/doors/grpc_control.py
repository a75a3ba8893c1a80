"""A service of the control plane on grpc.aio: every method that has a row, and no other."""

from collections.abc import Mapping

from junctor.doors.grpc_calls import Routes, Unary, unary


def routes(service: str, methods: Mapping[str, Unary]) -> Routes:
    """Return a service's methods by their paths, by its full name and their names."""
    return {f"/{service}/{name}": unary(method) for name, method in methods.items()}
