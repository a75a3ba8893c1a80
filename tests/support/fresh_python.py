"""What does a fresh interpreter import? For tests of what stays unloaded until it is needed."""

import subprocess
import sys

_TIMEOUT_S = 60


def modules_after(program: str) -> frozenset[str]:
    """Run a program in a new interpreter and return the names of the top-level modules that were loaded by its end."""
    ending = "import sys; print('\\x00' + ' '.join({name.partition('.')[0] for name in sys.modules}))"
    argv = [sys.executable, "-c", f"import atexit; atexit.register(lambda: exec({ending!r})); {program}"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    return frozenset(done.stdout.rpartition("\x00")[2].split())
