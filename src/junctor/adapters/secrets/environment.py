"""Which secrets did the operator hand over? The environment's at start, those of a shared secret, and a pepper of this machine.

It fetches nothing and logs nothing. Invariant: no `repr` and no error made here contains a value.
"""

import base64
import binascii
import os
from collections.abc import Mapping
from pathlib import Path

from junctor.adapters.secrets.private_file import PrivateFileError, create_private, read_private
from junctor.ports.secrets import Peppers

_LOCAL_PEPPER_VERSION = 1
_PEPPER_BYTES = 32


class EnvironmentSecrets:
    """Secrets by the names of environment variables. Later changes of the environment are not seen.

    What is shared goes before what is this process's own, so that a key can be replaced for all at once. `version` is another
    number whenever a provider key came, went or changed.
    """

    def __init__(self, environ: Mapping[str, str], peppers: Peppers) -> None:
        """Copy the variables that have a value; blanks around a value are a slip of pasting and are cut."""
        self._own = _without_blanks(environ)
        self._shared: Mapping[str, str] = {}
        self._peppers = peppers
        self.version = 0

    def get(self, name: str) -> str | None:
        """Return a provider key by its usual variable name, None if there is none."""
        return self._shared.get(name) or self._own.get(name)

    def peppers(self) -> Peppers:
        """Return the peppers in force."""
        return self._peppers

    def add(self, name: str, value: str) -> None:
        """Add a secret that came to be at run time, such as the key of a model server that we started."""
        self._own[name] = value
        self.version += 1

    def share(self, values: Mapping[str, str]) -> int:
        """Put these in the place of all that was shared before; return how many names have another value than before."""
        before = {name: self.get(name) for name in {*self._shared, *values}}
        self._shared = _without_blanks(values)
        changed = sum(self.get(name) != value for name, value in before.items())
        self.version += bool(changed)
        return changed

    def names(self) -> frozenset[str]:
        """Return the names that have a value, and no values."""
        return frozenset((*self._own, *self._shared))

    def __repr__(self) -> str:
        """Tell how many there are, and nothing of them."""
        return f"EnvironmentSecrets({len(self.names())} names)"


def _without_blanks(values: Mapping[str, str]) -> dict[str, str]:
    return {name: value.strip() for name, value in values.items() if value.strip()}


def local_pepper(path: Path) -> Peppers:
    """Return the pepper of this machine from its file, which is made first if there is none.

    Raises PrivateFileError if the file cannot be used or others can read it.
    """
    try:
        content = read_private(path)
    except FileNotFoundError:
        create_private(path, base64.b64encode(os.urandom(_PEPPER_BYTES)) + b"\n")
        # Read back rather than remembered: another process may have been first.
        content = read_private(path)
    try:
        key = base64.b64decode(content.strip(), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != _PEPPER_BYTES:
        raise PrivateFileError(path, "is not a pepper; put back its copy (without it the API keys in the store are void)")
    return Peppers(_LOCAL_PEPPER_VERSION, {_LOCAL_PEPPER_VERSION: key})
