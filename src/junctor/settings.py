"""What may an operator set, and is what he set sound? The environment goes in, a frozen `Settings` comes out.

Parsed and checked once, at start, with every mistake reported at once; nothing reads the environment afterwards. It opens
no file and reaches nothing: whether a table exists or a folder can be written is found out where it is used.
Invariant: no message and no `repr` made here contains a pepper.
"""

import base64
import binascii
import difflib
import re
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

import platformdirs
from msgspec import Struct

PREFIX = "JUNCTOR_"
API_KEY_VARIABLE = "JUNCTOR_API_KEY"
TARGET_VARIABLE = "JUNCTOR_TARGET"
DEFAULT_TARGET = "127.0.0.1:50051"
# In the data folder: `junctor up` writes it and `junctor chat` reads it.
FIRST_KEY_FILE = "first-key"

ADMIN_KEY_VARIABLE = "JUNCTOR_ADMIN_KEY"
ADMIN_TARGET_VARIABLE = "JUNCTOR_ADMIN_TARGET"
DEFAULT_ADMIN_TARGET = "127.0.0.1:50052"
OPERATOR_KEY_FILE = "operator-key"

# Read by the clients and the commands; a server that finds them in its environment lets them be.
_OF_CALLERS = frozenset({API_KEY_VARIABLE, TARGET_VARIABLE, ADMIN_KEY_VARIABLE, ADMIN_TARGET_VARIABLE})
_PEPPER_MIN_BYTES = 32
_SHOWN_CHARACTERS = 80
_PORT_MAX = 65535
# Every real path is absolute once it is read, so this can mean nothing else.
_STDERR = Path("-")

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


class Address(Struct, frozen=True):
    """Where to listen. Port 0 lets the system choose one."""

    host: str
    port: int

    def __str__(self) -> str:
        """Write it as it is set: IPv6 in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Pepper(Struct, frozen=True):
    """A key under which API keys are digested."""

    version: int
    key: bytes

    def __repr__(self) -> str:
        """Name the version and keep the key to itself."""
        return f"Pepper(version={self.version})"


class SettingHelp(NamedTuple):
    """One setting as its user sees it."""

    variable: str
    default: str
    meaning: str


_HELP = (
    SettingHelp("LISTEN", "127.0.0.1:50051", "host:port to listen on; IPv6 in brackets; port 0 takes a free one"),
    SettingHelp("ADMIN_LISTEN", "127.0.0.1, the port after LISTEN's", "host:port of the control plane: keys, credits, limits"),
    SettingHelp("DATA_DIR", "the user's data folder", "folder of the embedded store and of local secrets"),
    SettingHelp("CACHE_DIR", "the user's cache folder", "folder of what can be fetched again, such as the local model"),
    SettingHelp("STORE", "sqlite for up, dynamodb for serve", "where the tables are: sqlite or dynamodb"),
    SettingHelp("DYNAMODB_ENDPOINT", "", "URL of another DynamoDB than the region's; implies the store dynamodb"),
    SettingHelp("REGION", "us-east-1", "AWS region; AWS_REGION and AWS_DEFAULT_REGION are read if it is absent"),
    SettingHelp("TABLE_PREFIX", "junctor-", "what the names of the tables begin with"),
    SettingHelp("PEPPER", "", "version:base64 of 32 bytes or more, several with commas; the first digests new API keys"),
    SettingHelp("REFLECTION", "off", "whether gRPC reflection is served"),
    SettingHelp("LOCAL_MODEL", "on", "whether the small local model is started"),
    SettingHelp("DRAIN_S", "110", "seconds that running calls get to end when the server stops"),
    SettingHelp("HEARTBEAT_S", "15", "seconds of silence after which a stream sends a heartbeat"),
    SettingHelp("DEADLINE_DEFAULT_S", "600", "seconds that a call without a deadline gets"),
    SettingHelp("DEADLINE_MAX_S", "900", "seconds that a call may get at most"),
    SettingHelp("MESSAGE_IN_MAX_BYTES", "20 MiB", "largest request"),
    SettingHelp("MESSAGE_OUT_MAX_BYTES", "64 MiB", "largest answer"),
    SettingHelp("MESSAGES_MAX", "4096", "most messages in a request"),
    SettingHelp("PARTS_MAX", "4096", "most parts in a request"),
    SettingHelp("TOOLS_MAX", "512", "most tools in a request"),
    SettingHelp("JSON_DEPTH_MAX", "64", "deepest JSON in a request"),
    SettingHelp("STRING_MAX_BYTES", "16 MiB", "longest string in a request"),
    SettingHelp("LOG", "log.jsonl in the data folder for up, - for serve", "file that request lines go to; - is stderr"),
    SettingHelp("CREDIT_FEE_PPM", "50000", "millionths of each payment that are kept as a fee; 0 to pass credits on whole"),
    SettingHelp("OUTPUT_HOLD_TOKENS", "8192", "output tokens for which money is held where a call sets no max_tokens"),
    SettingHelp("KEY_CACHE_S", "60", "seconds that a checked API key is trusted before it is looked up again, at most 60"),
)
_DEFAULTS = {row.variable: row.default for row in _HELP}


class Settings(Struct, frozen=True, kw_only=True):
    """Everything that can be set, checked. `log` None is standard error; `peppers` are as set, the current one first."""

    listen: Address
    admin_listen: Address
    data_dir: Path
    cache_dir: Path
    store: Store
    dynamodb_endpoint: str | None
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
    messages_max: int
    parts_max: int
    tools_max: int
    json_depth_max: int
    string_max_bytes: int
    log: Path | None
    credit_fee_ppm: int
    output_hold_tokens: int
    key_cache_s: float

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], command: Command = Command.UP) -> Self:
        """Read and check all variables.

        Raises SettingsError with every mistake.
        """
        read = _Reader(environ)
        endpoint = read.maybe("DYNAMODB_ENDPOINT", _url)
        serving = command is Command.SERVE
        data_dir = read.take("DATA_DIR", _path, _default_data_dir())
        log = read.take("LOG", _log, "-" if serving else str(data_dir / "log.jsonl"))
        listen = read.take("LISTEN", _address)
        settings = cls(
            listen=listen,
            admin_listen=read.take("ADMIN_LISTEN", _address, f"127.0.0.1:{_beside(listen.port)}"),
            data_dir=data_dir,
            cache_dir=read.take("CACHE_DIR", _path, str(platformdirs.user_cache_path("junctor", appauthor=False))),
            store=read.take("STORE", _store, "dynamodb" if serving or read.has("DYNAMODB_ENDPOINT") else "sqlite"),
            dynamodb_endpoint=endpoint,
            region=read.region(),
            table_prefix=read.take("TABLE_PREFIX", _table_prefix),
            peppers=read.maybe("PEPPER", _peppers) or (),
            reflection=read.take("REFLECTION", _switch),
            local_model=read.take("LOCAL_MODEL", _switch),
            drain_s=read.take("DRAIN_S", _seconds(0, 3600)),
            heartbeat_s=read.take("HEARTBEAT_S", _seconds(0.1, 55)),
            deadline_default_s=read.take("DEADLINE_DEFAULT_S", _seconds(1, 900)),
            deadline_max_s=read.take("DEADLINE_MAX_S", _seconds(1, 900)),
            message_in_max_bytes=read.take("MESSAGE_IN_MAX_BYTES", _size),
            message_out_max_bytes=read.take("MESSAGE_OUT_MAX_BYTES", _size),
            messages_max=read.take("MESSAGES_MAX", _count(65536)),
            parts_max=read.take("PARTS_MAX", _count(65536)),
            tools_max=read.take("TOOLS_MAX", _count(65536)),
            json_depth_max=read.take("JSON_DEPTH_MAX", _count(256)),
            string_max_bytes=read.take("STRING_MAX_BYTES", _size),
            log=None if log == _STDERR else log,
            credit_fee_ppm=read.take("CREDIT_FEE_PPM", _count(500_000, least=0)),
            output_hold_tokens=read.take("OUTPUT_HOLD_TOKENS", _count(1_000_000)),
            key_cache_s=read.take("KEY_CACHE_S", _seconds(0, 60)),
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
    found = read.take("DATA_DIR", _path, _default_data_dir())
    if read.problems:
        raise SettingsError(tuple(read.problems))
    return found


def list_settings() -> tuple[SettingHelp, ...]:
    """Return every setting with the whole name of its variable, its default (empty if it has none) and its meaning."""
    return tuple(row._replace(variable=PREFIX + row.variable) for row in _HELP)


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
            self.problems.append(f"{variable}: {_shown(text)} is not the name of a region, such as eu-central-1")
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
        if settings.deadline_default_s > settings.deadline_max_s:
            self.problems.append(f"{PREFIX}DEADLINE_DEFAULT_S: is longer than {PREFIX}DEADLINE_MAX_S")
        if settings.store is Store.SQLITE and self.has("DYNAMODB_ENDPOINT"):
            self.problems.append(f"{PREFIX}STORE: is sqlite, but {PREFIX}DYNAMODB_ENDPOINT is set; unset one of them")
        if command is Command.SERVE and settings.store is Store.DYNAMODB and not self.has("PEPPER"):
            self.problems.append(f"{PREFIX}PEPPER: is needed, the same for every instance that shares the tables")


def _default_data_dir() -> str:
    return str(platformdirs.user_data_path("junctor", appauthor=False))


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "...")


def _address(text: str) -> Address:
    bracketed = re.fullmatch(r"\[([0-9A-Fa-f:.%\w]+)\]:(\d{1,5})", text)
    plain = re.fullmatch(r"([A-Za-z0-9._-]+):(\d{1,5})", text)
    match = bracketed or plain
    if match is None:
        raise ValueError(f"{_shown(text)} is not host:port, such as 127.0.0.1:50051, 0.0.0.0:50051 or [::1]:50051")
    if int(match[2]) > _PORT_MAX:
        raise ValueError(f"the port {match[2]} is more than {_PORT_MAX}")
    return Address(match[1], int(match[2]))


def _beside(port: int) -> int:
    """Return the port after a port, before it if it is the last; a free one stays a free one."""
    return port and port + (1 if port < _PORT_MAX else -1)


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        raise ValueError(f"the home folder in {_shown(text)} is not known; give the whole path") from None


def _log(text: str) -> Path:
    return _STDERR if text == "-" else _path(text)


def _store(text: str) -> Store:
    try:
        return Store(text.lower())
    except ValueError:
        raise ValueError(f"{_shown(text)} is neither sqlite nor dynamodb") from None


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        sound = parts.scheme in {"http", "https"} and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        sound = False
    if not sound or parts.path.strip("/") or parts.query or parts.fragment or parts.username is not None:
        # Not shown: whoever writes a password into it should not find it in a log.
        raise ValueError("is not http(s)://host:port and nothing more, such as http://127.0.0.1:8000")
    return text.rstrip("/")


def _table_prefix(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", text):
        raise ValueError(f"{_shown(text)} is not 1 to 64 letters, digits, underscores, full stops and hyphens")
    return text


def _peppers(text: str) -> tuple[Pepper, ...]:
    found: list[Pepper] = []
    for place, entry in enumerate(text.split(","), 1):
        version, _, encoded = entry.strip().partition(":")
        if not re.fullmatch(r"[1-9][0-9]{0,8}", version):
            raise ValueError(f"entry {place} does not begin with a version, such as 1:")
        try:
            key = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            raise ValueError(f"entry {place} is not base64 after its version") from None
        if len(key) < _PEPPER_MIN_BYTES:
            raise ValueError(f"entry {place} has {len(key)} bytes and needs {_PEPPER_MIN_BYTES}")
        if any(pepper.version == int(version) for pepper in found):
            raise ValueError(f"entry {place} repeats version {version}")
        found.append(Pepper(int(version), key))
    return tuple(found)


def _switch(text: str) -> bool:
    if text.lower() in {"1", "true", "yes", "on"}:
        return True
    if text.lower() in {"0", "false", "no", "off"}:
        return False
    raise ValueError(f"{_shown(text)} is neither on nor off")


def _seconds(least: float, most: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError(f"{_shown(text)} is not a number of seconds") from None
        if not least <= value <= most:
            raise ValueError(f"{_shown(text)} is not between {least:g} and {most:g} seconds")
        return value

    return parse


def _count(most: int, least: int = 1) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise ValueError(f"{_shown(text)} is not a whole number between {least} and {most}")
        return int(text)

    return parse


def _size(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,12})\s*(KiB|MiB|B)?", text)
    value = int(match[1]) * {"KiB": 1 << 10, "MiB": 1 << 20}.get(match[2], 1) if match else 0
    if not 1 << 10 <= value <= 1 << 30:
        raise ValueError(f"{_shown(text)} is not a size between 1 KiB and 1024 MiB, such as 1048576 or 20 MiB")
    return value
