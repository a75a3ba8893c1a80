"""A gRPC server on threads of its own, on a free port: what the fakes of each service have in common."""

from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import grpc

HANG_MAX_S = 30.0


class FakeServer:
    """The server, as a context manager; `target` is its address."""

    def __init__(self, service: str, methods: "dict[str, grpc.RpcMethodHandler[Any, Any]]", *, threads: int = 2) -> None:
        self._threads = ThreadPoolExecutor(max_workers=threads)
        self._server = grpc.server(self._threads)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
        self.target = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> Self:
        """Start to listen."""
        self._server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop at once, running calls too."""
        self._server.stop(None).wait(HANG_MAX_S)
        self._threads.shutdown()
