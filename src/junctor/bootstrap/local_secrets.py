"""Secrets that live in the data folder of this machine: the pepper, the first API key, and the operator's."""

from pathlib import Path
from typing import NamedTuple

from junctor.adapters.secrets.environment import local_pepper
from junctor.adapters.secrets.private_file import create_private, read_private
from junctor.bootstrap.core import Core
from junctor.domain.account import Actor, KeyScope
from junctor.domain.errors import ApiKeyInvalidError, ScopeMissingError
from junctor.ports.secrets import Peppers
from junctor.settings import FIRST_KEY_FILE, OPERATOR_KEY_FILE, Settings

PEPPER_FILE = "pepper"


def peppers(settings: Settings) -> Peppers:
    """Return the peppers of the settings, else this machine's own. Raises PrivateFileError."""
    if settings.peppers:
        return Peppers(settings.peppers[0].version, {pepper.version: pepper.key for pepper in settings.peppers})
    return local_pepper(settings.data_dir / PEPPER_FILE)


class FirstKey(NamedTuple):
    """The organisation of this machine's first API key, and the key if it was made just now: it is shown once."""

    account: str
    made: str | None


async def first_key(core: Core, data_dir: Path) -> FirstKey:
    """Make an organisation and its first API key, unless the data folder has a key that this store knows.

    Raises PrivateFileError, StoreError, LedgerUnavailableError.
    """
    known = await _known(core, data_dir / FIRST_KEY_FILE, KeyScope.COMPLETION)
    if known is not None:
        return FirstKey(known.account, None)
    account = await core.accounts.create_organisation("local")
    key = await core.accounts.create_api_key(account.id, "first key")
    create_private(data_dir / FIRST_KEY_FILE, key.encode() + b"\n")
    return FirstKey(account.id, key)


async def operator_key(core: Core, data_dir: Path) -> Path:
    """Make this machine's operator key, unless the data folder has one that this store knows; return where it is kept.

    Raises PrivateFileError, StoreError, LedgerUnavailableError.
    """
    path = data_dir / OPERATOR_KEY_FILE
    if await _known(core, path, KeyScope.OPERATOR) is None:
        create_private(path, (await core.accounts.create_api_key("", "this machine", KeyScope.OPERATOR)).encode() + b"\n")
    return path


async def _known(core: Core, path: Path, scope: KeyScope) -> Actor | None:
    """Return whose key a file holds; None if there is none that this store knows, and then no file either."""
    try:
        kept = read_private(path).decode().strip()
        return await core.services.admission.admit_actor(kept, frozenset({scope}))
    except FileNotFoundError:
        return None
    except (ApiKeyInvalidError, ScopeMissingError, UnicodeDecodeError):
        _forget(path)
        return None


def _forget(path: Path) -> None:
    """Remove a key that this store does not know, so that another can take its place."""
    path.unlink()
