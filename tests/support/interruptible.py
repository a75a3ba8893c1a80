"""Starts a program that Ctrl-C can end, also where this one was started in the background of a shell, which ignores SIGINT."""

import sys

_HEAR = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)


def interruptible(*arguments: str) -> list[str]:
    """Return the command line that runs Python with these arguments and hears SIGINT."""
    return [sys.executable, "-c", _HEAR, *arguments]
