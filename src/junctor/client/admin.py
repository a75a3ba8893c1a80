"""The client for those who manage: AccountService, UsageService and CatalogAdminService, protos in and protos out.

It adds what every call needs - the key, a bound in time, typed errors - and nothing else. It is safe to use from all threads.
It refuses to retry, as `Client` does: making a key or booking a payment twice is the caller's to decide.
"""

import os
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from google.protobuf.message import Message

from junctor.client import channel
from junctor.client.sync import answer, open_channel
from junctor.v1 import account_service_pb2 as messages
from junctor.v1 import catalog_admin_service_pb2 as catalog_messages

if TYPE_CHECKING:
    import grpc


__all__ = ["AdminClient", "catalog_messages", "messages"]

DEFAULT_TARGET = "127.0.0.1:50052"
DEFAULT_TIMEOUT_S = 30.0

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


class AdminClient:
    """A connection to a router's control plane; also a context manager that closes it.

    `account`, `usage` and `catalog` are the services' stubs; a method of theirs goes through `call`:
    `client.call(client.account.GetOrganisation, messages.GetOrganisationRequest())`.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        api_key: str | None = None,
        *,
        key_file: str | os.PathLike[str] | None = None,
        tls: bool | bytes = False,
        certificate: tuple[bytes, bytes] | None = None,
    ) -> None:
        """Prepare to reach `target` (host:port); connecting happens at the first call.

        The key, `tls` and `certificate` are as for `Client`. Raises ValueError without a sound key.
        """
        from junctor.v1.account_service_pb2_grpc import AccountServiceStub
        from junctor.v1.catalog_admin_service_pb2_grpc import CatalogAdminServiceStub
        from junctor.v1.usage_service_pb2_grpc import UsageServiceStub

        self._metadata = channel.authorization(channel.find_key(api_key, key_file))
        self._channel = open_channel(target, channel.credentials(tls=tls, certificate=certificate))
        self.account: AccountServiceStub = AccountServiceStub(self._channel)
        self.usage: UsageServiceStub = UsageServiceStub(self._channel)
        self.catalog: CatalogAdminServiceStub = CatalogAdminServiceStub(self._channel)

    def call(
        self,
        method: "grpc.UnaryUnaryMultiCallable[Request, Response]",
        request: Request,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> Response:
        """Ask a method of a stub and wait for the answer. Raises JunctorRpcError if the call fails."""
        # A future, as it can be cancelled when this thread is interrupted while it waits.
        return answer(method.future(request, timeout=channel.check_timeout(timeout_s), metadata=self._metadata))

    def close(self) -> None:
        """Cancel what is running and close the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the connection."""
        self.close()
