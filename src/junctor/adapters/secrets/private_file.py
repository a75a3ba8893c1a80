"""How does a secret rest on this machine's disk? In a file that only its owner can read, made whole or not at all.

It overwrites nothing and refuses what others can read. Invariant: a path that exists has the whole content.
"""

import os
import stat
from pathlib import Path

_CONTENT_MAX_BYTES = 64 * 1024


class PrivateFileError(Exception):
    """A secret's file cannot be used: `path` and, in our own words, why; never its content."""

    def __init__(self, path: Path, problem: str) -> None:
        """Keep which file and what is wrong with it."""
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


def create_private(path: Path, content: bytes) -> bool:
    """Make the file with mode 0600, its folder with 0700 if that is missing; return False if the file exists already.

    Raises PrivateFileError if it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            # A link, unlike a rename, fails where another process was first.
            os.link(draft, path)
        finally:
            draft.unlink()
    except FileExistsError:
        if path.is_file():
            return False
        raise PrivateFileError(path, "something other than a file is in the way") from None
    except OSError as error:
        raise PrivateFileError(path, f"cannot be written ({_reason(error)})") from None
    return True


def read_private(path: Path) -> bytes:
    """Return the file's content, at most 64 KiB.

    Raises FileNotFoundError if there is none, PrivateFileError if it cannot be read or others can read it.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        with os.fdopen(handle, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            # Windows has no such modes: there the user's own folder is the fence.
            if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
                raise PrivateFileError(path, f"others may use it (mode {stat.S_IMODE(mode):04o}); run: chmod 600 '{path}'")
            return file.read(_CONTENT_MAX_BYTES)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise PrivateFileError(path, f"cannot be read ({_reason(error)})") from None


def _reason(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else "unknown"
