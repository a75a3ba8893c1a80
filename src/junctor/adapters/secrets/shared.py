"""How does a fleet get its provider keys, and new ones without a restart? From one secret in AWS Secrets Manager.

The secret is a JSON object of keys by the names of their variables. It is read at start, which fails without it, and again
within five minutes for ever. What cannot be read changes nothing: the values of before stay. What is gone from it is gone here.

Refuses names that are no provider's key, so that whoever may write the secret does not set anything else. Invariant: no `repr`,
error or event made here contains a value, or a name that is not one of ours to know.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import Final, Protocol, cast

import msgspec
from msgspec import Struct

from junctor.adapters.secrets.environment import EnvironmentSecrets
from junctor.domain.overlay import CREDENTIAL_PREFIX
from junctor.ports.ambient import Dice

EVERY_S: Final = 240.0
"""With the most of the jitter and a read that times out, less than five minutes."""
AGAIN_S: Final = 20.0
"""After a read that failed."""
JITTER: Final = 0.15
_TIMEOUT_S: Final = 3.0
_PROVIDERS = r"(?!JUNCTOR_|AWS_(?!BEARER_))[A-Z][A-Z0-9_]{0,100}_(?:API_?KEY|KEY|TOKEN|PAT|CREDENTIALS|BEDROCK)(?:_[0-9]{1,2})?"
_NAME = re.compile(rf"{_PROVIDERS}|{CREDENTIAL_PREFIX}[A-Z0-9_]{{1,64}}")
_MEANINGS: Final = {
    "AccessDeniedException": "this role may not read it",
    "ResourceNotFoundException": "there is no such secret in this region",
    "DecryptionFailure": "its key may not be used",
}


class SharedSecretError(Exception):
    """The shared secret cannot be read; the message says why in our words."""

    def __init__(self, problem: str) -> None:
        """Keep what is wrong."""
        super().__init__(f"the shared secret of provider keys: {problem}")


class Reader(Protocol):
    """The one call of a Secrets Manager client that is made here."""

    def get_secret_value(self, **request: str) -> Mapping[str, object]:
        """Return a secret. Raises botocore's errors."""


class Reading(Struct, frozen=True):
    """What a read brought: how many names have another value than before, and how many entries are no provider's key."""

    changed: int
    ignored: int


class SharedSecret:
    """Keeps what a secret holds among the secrets of this process. `connect` makes a client; it is slow, and called once."""

    def __init__(self, secret_id: str, secrets: EnvironmentSecrets, dice: Dice, connect: Callable[[], Reader]) -> None:
        """Read nothing yet."""
        self._secret_id = secret_id
        self._secrets = secrets
        self._dice = dice
        self._connect = connect
        self._reader: Reader | None = None

    async def read(self) -> Reading:
        """Put what the secret holds now in force, for all later calls. Raises SharedSecretError."""
        found = _entries(await asyncio.to_thread(self._fetch))
        values = {name: value for name, value in found.items() if isinstance(value, str) and _NAME.fullmatch(name)}
        return Reading(self._secrets.share(values), len(found) - len(values))

    async def keep(self, tell: Callable[[str], None]) -> None:
        """Read again and again; `tell` hears of changes, and once when it cannot be read and when it can again."""
        failing = False
        while True:
            pause_s = AGAIN_S if failing else EVERY_S
            await asyncio.sleep(pause_s * (1 + JITTER * (2 * self._dice.uniform() - 1)))
            try:
                reading = await self.read()
            except SharedSecretError as error:
                if not failing:
                    tell(f"{error}; what it held before stays in force")
                failing = True
                continue
            if failing or reading.changed:
                ignored = f", and {reading.ignored} that are no provider's" if reading.ignored else ""
                tell(f"the shared secret of provider keys was read: {reading.changed} changed{ignored}")
            failing = False

    def _fetch(self) -> object:
        """Ask for the secret's text; for a thread."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - slow, and only wanted on AWS

        try:
            if self._reader is None:
                self._reader = self._connect()
            return self._reader.get_secret_value(SecretId=self._secret_id).get("SecretString")
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            raise SharedSecretError(_MEANINGS.get(code, "Secrets Manager refuses to give it")) from None
        except BotoCoreError:
            raise SharedSecretError("Secrets Manager cannot be reached, or no AWS credentials were found") from None
        except Exception:  # noqa: BLE001 - whatever renews keys raises what it likes, and must not end the reading for ever
            raise SharedSecretError("Secrets Manager cannot be asked at present") from None


def secrets_manager(region: str) -> Reader:
    """Return a client of AWS Secrets Manager; its address and credentials come from boto3's usual chains."""
    import boto3  # noqa: PLC0415 - a quarter of a second, and only wanted on AWS
    from botocore.config import Config  # noqa: PLC0415 - the same

    config = Config(retries={"total_max_attempts": 2, "mode": "standard"}, connect_timeout=_TIMEOUT_S, read_timeout=_TIMEOUT_S)
    return cast("Reader", boto3.Session(region_name=region).client("secretsmanager", config=config))


def _entries(text: object) -> Mapping[str, object]:
    if not isinstance(text, str):
        raise SharedSecretError("it is not text")
    try:
        return msgspec.json.decode(text, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeEncodeError):
        raise SharedSecretError("it is not a JSON object") from None
