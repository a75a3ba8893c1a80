"""Who may import whom: the contracts hold, and what must start small does start small."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 120


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of our own in the checkout."""
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def test_the_import_contracts_are_kept() -> None:
    """A door could decide about money, or policy read a clock, without anybody noticing."""
    linter = shutil.which("lint-imports", path=str(Path(sys.executable).parent)) or shutil.which("lint-imports")
    if linter is None:
        pytest.skip("import-linter is not installed")
    done = run(linter, "--no-cache")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    "program",
    [
        "import junctor.bootstrap.core",
        "import junctor.client",
        "import junctor.doors.rpc.router",
        "from junctor.cli.main import main\ntry: main(['--help'])\nexcept SystemExit as end: assert not end.code",
    ],
    ids=["core", "client", "rpc", "help"],
)
def test_grpc_is_not_loaded_where_it_is_not_used(program: str) -> None:
    """A function of a few megabytes would have to carry grpc, and --help take a second."""
    done = run(sys.executable, "-c", f"{program}\nimport sys\nprint('junctor' in sys.modules, 'grpc' in sys.modules)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "True False"
