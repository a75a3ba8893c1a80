"""What is loaded when: a command line that answers at once, and a server that listens soon, load nothing that they do not use.

Times are not judged here, as this machine may be busy; `python -m tests.bench.startup` measures them.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from junctor.cli.main import COMMANDS
from tests.support.child import environment

TIMEOUT_S = 60

_TELL = "print(*sorted({name.partition('.')[0] for name in sys.modules}), flush=True)"

HELP = f"""
import contextlib, io, sys
from junctor.cli.main import main
for words in {[["--help"], *([name, "--help"] for name in COMMANDS)]!r}:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        main(words)
    assert "usage: " + " ".join(["junctor", *words[:-1]]) in said.getvalue(), words
    if words == ["--help"]:
        {_TELL}
{_TELL}
"""

SERVE = f"""
import os, signal, sys
from junctor.bootstrap import quick
from junctor.cli.main import main
def started():
    {_TELL}
    os.kill(os.getpid(), signal.SIGTERM)
quick.started = started
sys.exit(main(["serve"]))
"""

LEADER = f"""
import sys
from junctor.bootstrap.supervisor import Supervisor
from junctor.cli import starting
{_TELL}
"""


def _loaded(program: str, folder: Path) -> list[set[str]]:
    """Run a program in a fresh interpreter that sees nothing of this machine, and return what it said was loaded."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment(folder, {"JUNCTOR_STORE": "sqlite"}), "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [set(line.split()) for line in done.stdout.splitlines()]


LIBRARIES = {"grpc", "google", "boto3", "botocore", "aiohttp", "httpx", "rich", "pygments", "uvloop", "ssl"}


def test_help_loads_no_library(tmp_path: Path) -> None:
    """Else `junctor --help` takes a second, or fails where one of the libraries does."""
    plain, every = _loaded(HELP, tmp_path)
    assert "junctor" in plain
    assert not plain & {*LIBRARIES, "msgspec", "asyncio", "platformdirs"}
    assert not every & LIBRARIES


@pytest.mark.parametrize(
    ("program", "unused", "used"),
    [
        (SERVE, {"boto3", "botocore", "httpx", "rich", "pygments", "xllamacpp"}, {"grpc", "aiohttp", "sqlite3"}),
        (LEADER, LIBRARIES - {"ssl"}, {"asyncio", "msgspec"}),
    ],
    ids=["serve on sqlite", "the leader of several processes"],
)
def test_a_server_loads_what_it_uses(program: str, unused: set[str], used: set[str], tmp_path: Path) -> None:
    """Else a server on an embedded store waits for a library of AWS; or grpc is loaded where it must never be."""
    (loaded,) = _loaded(program, tmp_path)
    assert used <= loaded
    assert not loaded & unused
