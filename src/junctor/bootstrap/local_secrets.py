"""Secrets that live in the data folder of this machine: the pepper, and the first API key."""

from pathlib import Path

from junctor.adapters.secrets.environment import local_pepper
from junctor.adapters.secrets.private_file import create_private, read_private
from junctor.bootstrap.core import Core
from junctor.domain.account import KeyScope
from junctor.domain.errors import ApiKeyInvalidError
from junctor.ports.secrets import Peppers
from junctor.settings import FIRST_KEY_FILE, Settings

PEPPER_FILE = "pepper"


def peppers(settings: Settings) -> Peppers:
    """Return the peppers of the settings, else this machine's own. Raises PrivateFileError."""
    if settings.peppers:
        return Peppers(settings.peppers[0].version, {pepper.version: pepper.key for pepper in settings.peppers})
    return local_pepper(settings.data_dir / PEPPER_FILE)


async def first_key(core: Core, data_dir: Path) -> str | None:
    """Make an organisation and its first API key, unless the data folder has a key that this store knows.

    Returns the key if it was made just now: it is shown once. Raises PrivateFileError, StoreError.
    """
    path = data_dir / FIRST_KEY_FILE
    try:
        kept = read_private(path).decode().strip()
        await core.services.admission.admit(kept, KeyScope.COMPLETION)
    except FileNotFoundError:
        pass
    except (ApiKeyInvalidError, UnicodeDecodeError):
        path.unlink()
    else:
        return None
    account = await core.accounts.create_organisation("local")
    key = await core.accounts.create_api_key(account.id, "first key")
    create_private(path, key.encode() + b"\n")
    return key
