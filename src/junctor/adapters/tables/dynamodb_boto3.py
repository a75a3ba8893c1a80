"""Requests to DynamoDB over boto3's low-level client, in a bounded pool of threads: the other sender than the signed one.

It is what AWS itself maintains: it knows proxies and authorities of the environment, and every way of finding an endpoint. It
costs several times the CPU. botocore's own retries are off, because they would repeat writes whose fate is not known.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import boto3
import msgspec
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProxyConnectionError,
    SSLError,
)
from msgspec import Struct, field

from junctor.adapters.tables.dynamodb_sender import (
    CLOSED,
    NO_CREDENTIALS,
    UNREACHABLE,
    UNUSABLE,
    Answer,
    Complaint,
    ComplaintError,
    MalformedError,
    NeverSentError,
    Reason,
    SendError,
    UnansweredError,
)
from junctor.adapters.tables.dynamodb_values import Attributes

_NEVER_SENT = (ConnectTimeoutError, EndpointConnectionError, ProxyConnectionError)


class _Metadata(Struct, frozen=True):
    status: int = field(default=500, name="HTTPStatusCode")


class _Error(Struct, frozen=True, rename="pascal"):
    code: str = ""


class _Response(Struct, frozen=True, rename="pascal"):
    """What botocore has of an error."""

    error: _Error = _Error()
    metadata: _Metadata = field(default=_Metadata(), name="ResponseMetadata")
    item: Attributes | None = None
    cancellation_reasons: list[Reason] | None = None


class Boto3Sender:
    """Sends from at most `threads` threads. `connect_s` bounds a connect, `answer_s` each wait for an answer, in seconds.

    `endpoint_url` None is AWS itself; credentials come from boto3's usual chain. A client of botocore has one time for all
    answers: here that of transactions, which take longest (`dynamodb_pool`).
    """

    def __init__(
        self, *, endpoint_url: str | None, region: str, threads: int = 16, connect_s: float = 1.0, answer_s: float = 2.0
    ) -> None:
        config = Config(
            retries={"total_max_attempts": 1, "mode": "standard"},
            max_pool_connections=threads,
            connect_timeout=connect_s,
            read_timeout=answer_s,
        )
        self.client = boto3.client("dynamodb", endpoint_url=endpoint_url, region_name=region, config=config)
        self._methods = {name: method for method, name in self.client.meta.method_to_api_mapping.items()}
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="dynamodb")

    async def send(self, operation: str, request: Mapping[str, object]) -> Answer:
        """Send a request once. Raises SendError."""
        call: Callable[..., object] = getattr(self.client, self._methods[operation])
        try:
            answering = asyncio.get_running_loop().run_in_executor(self._executor, partial(call, **request))
        except RuntimeError:
            raise NeverSentError(CLOSED, lasting=True) from None
        try:
            return msgspec.convert(await answering, Answer)
        except (ClientError, BotoCoreError) as error:
            raise explain(error) from error
        except ValueError as error:
            # Of msgspec, or of botocore where bytes in an answer are none.
            raise UnansweredError from error

    async def close(self) -> None:
        """Wait for what was sent, and end threads and connections."""
        await asyncio.to_thread(self._executor.shutdown)
        await asyncio.to_thread(self.client.close)


def explain(error: ClientError | BotoCoreError) -> SendError:
    """Say which end of a request an error of botocore is."""
    if isinstance(error, ClientError):
        return _complaint(error.response)
    if isinstance(error, ParamValidationError):
        return MalformedError()
    if isinstance(error, _NEVER_SENT):
        return NeverSentError(UNREACHABLE)
    if isinstance(error, (HTTPClientError, SSLError)):
        # TLS may break in a handshake, or under an answer: SSLError does not tell which.
        return UnansweredError()
    if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
        return NeverSentError(NO_CREDENTIALS, lasting=True)
    # Configuration, an endpoint that cannot be found: it never came to sending.
    return NeverSentError(UNUSABLE, lasting=True)


def _complaint(response: object) -> SendError:
    try:
        told = msgspec.convert(response, _Response)
    except msgspec.ValidationError:
        return UnansweredError()
    return ComplaintError(told.metadata.status, Complaint(told.error.code, told.item, told.cancellation_reasons))
