"""What may an operator set, and is what he set sound? The environment goes in, a frozen `Settings` comes out.

Parsed and checked once, at start, with every mistake reported at once; nothing reads the environment afterwards. It opens
no file and reaches nothing: whether a table exists or a folder can be written is found out where it is used. What each value
may be is in `values`, what each setting is for in `help`. Invariant: no message and no `repr` made here contains a pepper.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Self, TypeVar

import platformdirs
from msgspec import Struct

from junctor.settings import values
from junctor.settings.help import HELP, SettingHelp
from junctor.settings.values import PORT_MAX, Address, Pepper, PrivateHost

__all__ = [
    "ADMIN_KEY_VARIABLE",
    "ADMIN_TARGET_VARIABLE",
    "API_KEY_VARIABLE",
    "DEFAULT_ADMIN_TARGET",
    "DEFAULT_TARGET",
    "FIRST_KEY_FILE",
    "OPERATOR_KEY_FILE",
    "PORT_MAX",
    "PREFIX",
    "TARGET_CA_VARIABLE",
    "TARGET_CERT_VARIABLE",
    "TARGET_KEY_VARIABLE",
    "TARGET_VARIABLE",
    "Address",
    "Command",
    "DynamodbSender",
    "Http",
    "Pepper",
    "SettingHelp",
    "Settings",
    "SettingsError",
    "Store",
    "data_dir",
    "list_settings",
]

PREFIX = "JUNCTOR_"
API_KEY_VARIABLE = "JUNCTOR_API_KEY"
TARGET_VARIABLE = "JUNCTOR_TARGET"
TARGET_CA_VARIABLE = "JUNCTOR_TARGET_CA"
TARGET_CERT_VARIABLE = "JUNCTOR_TARGET_CERT"
TARGET_KEY_VARIABLE = "JUNCTOR_TARGET_KEY"
DEFAULT_TARGET = "127.0.0.1:50051"
# In the data folder: `junctor up` writes it and `junctor chat` reads it.
FIRST_KEY_FILE = "first-key"

ADMIN_KEY_VARIABLE = "JUNCTOR_ADMIN_KEY"
ADMIN_TARGET_VARIABLE = "JUNCTOR_ADMIN_TARGET"
DEFAULT_ADMIN_TARGET = "127.0.0.1:50052"
OPERATOR_KEY_FILE = "operator-key"

# Read by the clients and the commands; a server that finds them in its environment lets them be.
_OF_CALLERS = frozenset(
    {
        *(API_KEY_VARIABLE, TARGET_VARIABLE, ADMIN_KEY_VARIABLE, ADMIN_TARGET_VARIABLE),
        *(TARGET_CA_VARIABLE, TARGET_CERT_VARIABLE, TARGET_KEY_VARIABLE),
    }
)
# Every real path is absolute once it is read, so this can mean nothing else.
_STDERR = Path("-")
# What is of no use without the other.
_NEEDED = {"TLS_CERT": "TLS_KEY", "TLS_KEY": "TLS_CERT", "TLS_CLIENT_CA": "TLS_CERT", "ADMIN_TLS_CLIENT_CA": "TLS_CERT"}
_LOOPBACK = "127.0.0.0/8:*,[::1]:*"

T = TypeVar("T")


class SettingsError(Exception):
    """Settings that cannot be used: `problems` has one line for each mistake, never empty."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        """Keep all the mistakes, so that they can be mended at once."""
        super().__init__("\n".join(problems))
        self.problems = problems


class Command(Enum):
    """Which server the settings are for: a few defaults differ."""

    UP = "up"
    SERVE = "serve"


class Store(Enum):
    """Where the tables are."""

    SQLITE = "sqlite"
    DYNAMODB = "dynamodb"


class DynamodbSender(Enum):
    """What carries requests to DynamoDB."""

    SIGNED = "signed"
    BOTO3 = "boto3"


class Http(Enum):
    """Which library speaks to providers."""

    HTTPX = "httpx"
    AIOHTTP = "aiohttp"


_DEFAULTS = {row.variable: row.default for row in HELP}


class Settings(Struct, frozen=True, kw_only=True):
    """Everything that can be set, checked. `log` None is standard error; `peppers` are as set, the current one first.

    `calls_max` and `requests_max_bytes` are None where the machine decides.
    """

    listen: Address
    admin_listen: Address
    tls_cert: Path | None
    tls_key: Path | None
    tls_client_ca: Path | None
    admin_tls_client_ca: Path | None
    plain_text: bool
    processes: int
    data_dir: Path
    cache_dir: Path
    store: Store
    dynamodb_endpoint: str | None
    dynamodb_sender: DynamodbSender
    region: str
    table_prefix: str
    peppers: tuple[Pepper, ...]
    reflection: bool
    local_model: bool
    drain_s: float
    heartbeat_s: float
    deadline_default_s: float
    deadline_max_s: float
    message_in_max_bytes: int
    message_out_max_bytes: int
    calls_max: int | None
    requests_max_bytes: int | None
    streams_max: int
    patience_s: float
    messages_max: int
    parts_max: int
    tools_max: int
    json_depth_max: int
    string_max_bytes: int
    log: Path | None
    credit_fee_ppm: int
    output_hold_tokens: int
    credential_weights: Mapping[str, float]
    credentials_secret: str | None
    private_hosts: tuple[PrivateHost, ...]
    discover: bool
    http: Http
    key_cache_s: float

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], command: Command = Command.UP) -> Self:
        """Read and check all variables.

        Raises SettingsError with every mistake.
        """
        read = _Reader(environ)
        endpoint = read.maybe("DYNAMODB_ENDPOINT", values.url)
        serving = command is Command.SERVE
        data_dir = read.take("DATA_DIR", values.path, _default_data_dir())
        log = read.take("LOG", _log, "-" if serving else str(data_dir / "log.jsonl"))
        listen = read.take("LISTEN", values.address)
        client_ca = read.maybe("TLS_CLIENT_CA", values.path)
        settings = cls(
            listen=listen,
            admin_listen=read.take("ADMIN_LISTEN", values.address, f"127.0.0.1:{_beside(listen.port)}"),
            tls_cert=read.maybe("TLS_CERT", values.path),
            tls_key=read.maybe("TLS_KEY", values.path),
            tls_client_ca=client_ca,
            admin_tls_client_ca=read.maybe("ADMIN_TLS_CLIENT_CA", values.path) or client_ca,
            plain_text=read.take("PLAIN_TEXT", values.switch),
            processes=read.take("PROCESSES", values.count(256)),
            data_dir=data_dir,
            cache_dir=read.take("CACHE_DIR", values.path, str(platformdirs.user_cache_path("junctor", appauthor=False))),
            store=read.take("STORE", _store, "dynamodb" if serving or read.has("DYNAMODB_ENDPOINT") else "sqlite"),
            dynamodb_endpoint=endpoint,
            dynamodb_sender=read.take("DYNAMODB_SENDER", _sender),
            region=read.region(),
            table_prefix=read.take("TABLE_PREFIX", values.table_prefix),
            peppers=read.maybe("PEPPER", values.peppers) or (),
            reflection=read.take("REFLECTION", values.switch),
            local_model=read.take("LOCAL_MODEL", values.switch),
            drain_s=read.take("DRAIN_S", values.seconds(0, 3600)),
            heartbeat_s=read.take("HEARTBEAT_S", values.seconds(0.1, 55)),
            deadline_default_s=read.take("DEADLINE_DEFAULT_S", values.seconds(1, 900)),
            deadline_max_s=read.take("DEADLINE_MAX_S", values.seconds(1, 900)),
            message_in_max_bytes=read.take("MESSAGE_IN_MAX_BYTES", values.size),
            message_out_max_bytes=read.take("MESSAGE_OUT_MAX_BYTES", values.size),
            calls_max=read.maybe("CALLS_MAX", values.count(100_000)),
            requests_max_bytes=read.maybe("REQUESTS_MAX_BYTES", values.memory),
            streams_max=read.take("STREAMS_MAX", values.count(100_000)),
            patience_s=read.take("PATIENCE_S", values.seconds(0.1, 900)),
            messages_max=read.take("MESSAGES_MAX", values.count(65536)),
            parts_max=read.take("PARTS_MAX", values.count(65536)),
            tools_max=read.take("TOOLS_MAX", values.count(65536)),
            json_depth_max=read.take("JSON_DEPTH_MAX", values.count(256)),
            string_max_bytes=read.take("STRING_MAX_BYTES", values.size),
            log=None if log == _STDERR else log,
            credit_fee_ppm=read.take("CREDIT_FEE_PPM", values.count(500_000, least=0)),
            output_hold_tokens=read.take("OUTPUT_HOLD_TOKENS", values.count(1_000_000)),
            credential_weights=read.maybe("CREDENTIAL_WEIGHTS", values.weights) or {},
            credentials_secret=read.maybe("CREDENTIALS_SECRET", values.secret_id),
            private_hosts=read.maybe("PRIVATE_HOSTS", values.private_hosts)
            or (() if serving else values.private_hosts(_LOOPBACK)),
            discover=read.take("DISCOVER", values.switch),
            http=read.take("HTTP", _http),
            key_cache_s=read.take("KEY_CACHE_S", values.seconds(0, 60)),
        )
        read.check_unknown()
        read.check_together(settings, command)
        if read.problems:
            raise SettingsError(tuple(read.problems))
        return settings


def data_dir(environ: Mapping[str, str]) -> Path:
    """Return the data folder alone, for a command that must work whatever else is set.

    Raises SettingsError.
    """
    read = _Reader(environ)
    found = read.take("DATA_DIR", values.path, _default_data_dir())
    if read.problems:
        raise SettingsError(tuple(read.problems))
    return found


def list_settings() -> tuple[SettingHelp, ...]:
    """Return every setting with the whole name of its variable, its default (empty if it has none) and its meaning."""
    return tuple(row._replace(variable=PREFIX + row.variable) for row in HELP)


class _Reader:
    """Takes variables one by one and gathers what is wrong with them. An empty variable counts as absent."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[str] = []

    def has(self, name: str) -> bool:
        """Tell whether the variable is set."""
        return bool(self._environ.get(PREFIX + name, "").strip())

    def take(self, name: str, parse: Callable[[str], T], default: str | None = None) -> T:
        """Return the variable's value, that of its default if it is absent or wrong."""
        found = self.maybe(name, parse)
        return parse(_DEFAULTS[name] if default is None else default) if found is None else found

    def maybe(self, name: str, parse: Callable[[str], T]) -> T | None:
        """Return the variable's value, None if it is absent or wrong."""
        if not self.has(name):
            return None
        try:
            return parse(self._environ[PREFIX + name].strip())
        except ValueError as wrong:
            self.problems.append(f"{PREFIX}{name}: {wrong}")
            return None

    def region(self) -> str:
        """Return the AWS region from the first of its three variables that is set."""
        for variable in (PREFIX + "REGION", "AWS_REGION", "AWS_DEFAULT_REGION"):
            text = self._environ.get(variable, "").strip()
            if not text:
                continue
            if re.fullmatch(r"[a-z][a-z0-9-]{1,30}[a-z0-9]", text):
                return text
            self.problems.append(f"{variable}: {values.shown(text)} is not the name of a region, such as eu-central-1")
            break
        return _DEFAULTS["REGION"]

    def check_unknown(self) -> None:
        """Report each variable that looks like ours and is none, with the names that it may have meant."""
        for variable in sorted(self._environ):
            name = variable.removeprefix(PREFIX)
            if variable.startswith(PREFIX) and name not in _DEFAULTS and variable not in _OF_CALLERS:
                near = difflib.get_close_matches(name, _DEFAULTS, n=2, cutoff=0.75)
                hint = f"; did you mean {' or '.join(PREFIX + other for other in near)}?" if near else ""
                self.problems.append(f"{variable}: there is no such setting{hint}")

    def check_together(self, settings: Settings, command: Command) -> None:
        """Report values that are sound each and wrong together."""
        if settings.listen == settings.admin_listen and settings.listen.port:
            self.problems.append(f"{PREFIX}ADMIN_LISTEN: is the same as {PREFIX}LISTEN; they listen apart")
        for name, other in _NEEDED.items():
            if self.has(name) and not self.has(other):
                self.problems.append(f"{PREFIX}{name}: needs {PREFIX}{other}")
        if command is Command.SERVE and settings.processes > 1 and settings.store is Store.SQLITE:
            self.problems.append(f"{PREFIX}PROCESSES: is more than 1, but the store sqlite has room for one; use dynamodb")
        if settings.deadline_default_s > settings.deadline_max_s:
            self.problems.append(f"{PREFIX}DEADLINE_DEFAULT_S: is longer than {PREFIX}DEADLINE_MAX_S")
        if settings.store is Store.SQLITE and self.has("DYNAMODB_ENDPOINT"):
            self.problems.append(f"{PREFIX}STORE: is sqlite, but {PREFIX}DYNAMODB_ENDPOINT is set; unset one of them")
        if command is Command.SERVE and settings.store is Store.DYNAMODB and not self.has("PEPPER"):
            self.problems.append(f"{PREFIX}PEPPER: is needed, the same for every instance that shares the tables")


def _default_data_dir() -> str:
    return str(platformdirs.user_data_path("junctor", appauthor=False))


def _beside(port: int) -> int:
    """Return the port after a port, before it if it is the last; a free one stays a free one."""
    return port and port + (1 if port < PORT_MAX else -1)


def _log(text: str) -> Path:
    return _STDERR if text == "-" else values.path(text)


def _store(text: str) -> Store:
    try:
        return Store(text.lower())
    except ValueError:
        raise ValueError(f"{values.shown(text)} is neither sqlite nor dynamodb") from None


def _sender(text: str) -> DynamodbSender:
    try:
        return DynamodbSender(text.lower())
    except ValueError:
        raise ValueError(f"{values.shown(text)} is neither signed nor boto3") from None


def _http(text: str) -> Http:
    try:
        return Http(text.lower())
    except ValueError:
        raise ValueError(f"{values.shown(text)} is neither httpx nor aiohttp") from None
