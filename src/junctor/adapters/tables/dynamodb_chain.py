"""Where are requests to DynamoDB sent, and as whom? Whatever botocore says, so that every sender does the same.

The region's or an account's own endpoint, one of the environment or of a configuration file, FIPS or not; keys of the
environment, of a profile, a container, an instance or a single sign-on: botocore knows all of it, and is asked by having it
make a request that is not sent. It opens files and asks other servers, so it works in a thread. Keys may change: they are
looked at again from time to time beside the calls, and at once where DynamoDB does not take them.
"""

import asyncio
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, cast

from msgspec import Struct
from yarl import URL

from junctor.adapters.net.errors import BadHeaderError
from junctor.adapters.net.headers import check_value
from junctor.adapters.net.line import Target
from junctor.adapters.tables.dynamodb_sender import NO_CREDENTIALS, UNUSABLE, NeverSentError
from junctor.adapters.tables.dynamodb_signature import AccessKey, Signer

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest, AWSResponse
    from botocore.credentials import Credentials
    from botocore.session import Session
    from types_boto3_dynamodb import DynamoDBClient

LOOK_S = 60.0
"""How long keys are used before they are looked at again. botocore renews those that end 15 minutes before they do."""

_NO_KEYS = "AWS credentials cannot be had at present"
_UNKNOWN_PLACE = "only the sender boto3 knows how to use this endpoint of DynamoDB"
_SIGNED = re.compile(r"AWS4-HMAC-SHA256 Credential=[^, ]*/([^/, ]+)/dynamodb/aws4_request, .*")


class Standing(Struct, frozen=True):
    """Where to connect, and how to sign."""

    target: Target
    key: AccessKey
    signer: Signer


class Place(Struct, frozen=True):
    """An endpoint: where to connect, what the host header says, and the region to sign for."""

    target: Target
    host: str
    region: str


class Chain:
    """What botocore finds. `look` may take seconds."""

    def __init__(self, endpoint_url: str | None, region: str) -> None:
        self._endpoint_url = endpoint_url
        self._region = region
        self._found: tuple[Place, Credentials] | None = None

    def look(self) -> Standing:
        """Find out where to send, once, and as whom, each time. Raises NeverSentError."""
        if self._found is None:
            self._found = _find(self._endpoint_url, self._region)
        place, credentials = self._found
        try:
            frozen = credentials.get_frozen_credentials()
            key = AccessKey(str(frozen.access_key), str(frozen.secret_key), frozen.token)
            for part in (key.id, key.token or key.id):
                check_value(part)
        except BadHeaderError:
            raise NeverSentError(UNUSABLE, lasting=True) from None
        except Exception as error:  # whatever renews keys raises what it likes
            raise NeverSentError(_NO_KEYS) from error
        return Standing(place.target, key, Signer(key, place.region, place.host))


class Identity:
    """The standing of the moment, for those who send. `look` is called in a thread."""

    def __init__(self, look: Callable[[], Standing]) -> None:
        self._look = look
        self._standing: Standing | None = None
        self._due = 0.0
        self._looking: asyncio.Task[Standing] | None = None

    def present(self) -> Standing | None:
        """Return it as far as it is known. Now and then it is looked at again meanwhile."""
        if self._standing is not None and asyncio.get_running_loop().time() >= self._due:
            self._begin()
        return self._standing

    async def found(self, wait_s: float) -> Standing:
        """Look, and return what is found in so many seconds. Raises NeverSentError."""
        looking = self._begin()
        # Waited for beside the task: who gives up must not end it for all.
        done, _ = await asyncio.wait((looking,), timeout=wait_s)
        if not done or looking.cancelled():
            raise NeverSentError(_NO_KEYS)
        return looking.result()

    async def another(self, refused: Standing, wait_s: float) -> Standing | None:
        """Return one with another key than the one that was refused, None if there is none. Raises NeverSentError."""
        if self._standing is None or self._standing.key == refused.key:
            await self.found(wait_s)
        return self._standing if self._standing is not None and self._standing.key != refused.key else None

    def close(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()

    def _begin(self) -> asyncio.Task[Standing]:
        """Let a thread look, unless one does."""
        if self._looking is None:
            self._due = asyncio.get_running_loop().time() + LOOK_S
            self._looking = asyncio.create_task(asyncio.to_thread(self._look))
            self._looking.add_done_callback(self._looked)
        return self._looking

    def _looked(self, task: asyncio.Task[Standing]) -> None:
        self._looking = None
        # A look that fails leaves what there was: it may be good for some time yet.
        if not task.cancelled() and task.exception() is None:
            self._standing = task.result()


class _Nothing:
    """The body of an answer that botocore makes no more of."""

    def stream(self) -> Iterator[bytes]:
        """Yield an empty object of JSON."""
        yield b"{}"


def _find(endpoint_url: str | None, region: str) -> "tuple[Place, Credentials]":
    """Find where to send and who signs. Raises NeverSentError."""
    # Slow to import, and only wanted where DynamoDB is.
    from botocore.exceptions import (  # noqa: PLC0415
        BotoCoreError,
        ClientError,
        CredentialRetrievalError,
        HTTPClientError,
        MetadataRetrievalError,
        PartialCredentialsError,
    )
    from botocore.session import Session  # noqa: PLC0415

    try:
        session = Session()
        credentials = session.get_credentials()
        if credentials is None:
            raise NeverSentError(NO_CREDENTIALS, lasting=True)
        # An address of the operator's own is used as it is, by botocore too, whose client takes 50 ms to make.
        place = _resolved(session, region) if endpoint_url is None else _place(URL(endpoint_url), region)
    except PartialCredentialsError:
        raise NeverSentError(NO_CREDENTIALS, lasting=True) from None
    except (HTTPClientError, CredentialRetrievalError, MetadataRetrievalError, ClientError, OSError) as error:
        raise NeverSentError(_NO_KEYS) from error
    except (BotoCoreError, ValueError) as error:
        raise NeverSentError(UNUSABLE, lasting=True) from error
    return place, credentials


def _resolved(session: "Session", region: str) -> Place:
    """Have botocore make a request, and see where it goes. Raises botocore's errors, NeverSentError."""
    from botocore.awsrequest import AWSResponse  # noqa: PLC0415 - as above

    made: list[AWSPreparedRequest] = []

    def keep(request: "AWSPreparedRequest", **_: object) -> "AWSResponse":
        made.append(request)
        return AWSResponse(request.url, 200, {}, _Nothing())  # type: ignore[arg-type] # asked for no more than a stream

    client = cast("DynamoDBClient", session.create_client("dynamodb", region_name=region))
    client.meta.events.register("before-send.dynamodb.GetItem", cast("Callable[..., None]", keep))
    client.get_item(TableName="none", Key={"pk": {"S": "none"}})
    client.close()
    authorization = made[0].headers["Authorization"]
    signed = _SIGNED.fullmatch(authorization if isinstance(authorization, str) else authorization.decode("latin-1"))
    if signed is None:
        raise NeverSentError(_UNKNOWN_PLACE, lasting=True)
    return _place(URL(made[0].url, encoded=True), signed[1])


def _place(url: URL, region: str) -> Place:
    """Take an address apart. Raises NeverSentError."""
    host, port, authority = url.raw_host, url.port, url.host_port_subcomponent
    if url.scheme not in {"http", "https"} or not host or not port or not authority or url.raw_path_qs != "/":
        raise NeverSentError(_UNKNOWN_PLACE, lasting=True)
    return Place(Target(host, port, host.rstrip(".") if url.scheme == "https" else None), authority, region)
