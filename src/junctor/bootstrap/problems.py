"""What keeps a server from starting, as one clear line for whoever started it."""

from collections.abc import Generator
from contextlib import contextmanager

from junctor.adapters.catalog.snapshot import CatalogFormatError
from junctor.adapters.providers.registry import RegistryError
from junctor.adapters.secrets.private_file import PrivateFileError
from junctor.adapters.secrets.shared import SharedSecretError
from junctor.domain.errors import LedgerUnavailableError
from junctor.doors.addresses import AddressError
from junctor.ports.table import StoreError


class Problem(Exception):
    """The server cannot start; the text is the line."""


@contextmanager
def as_problem() -> Generator[None, None, None]:
    """Turn what can go wrong at start into a Problem; anything else is a bug and stays what it is."""
    try:
        yield
    except (StoreError, PrivateFileError, SharedSecretError, AddressError, CatalogFormatError, RegistryError) as error:
        raise Problem(str(error) or type(error).__name__) from error
    except LedgerUnavailableError as error:
        raise Problem("The store does not answer.") from error
    except OSError as error:
        raise Problem(f"{error.filename or 'A file'}: {error.strerror or type(error).__name__}") from error
