"""Generate the code of protos/ into a folder, or check that the committed one is what would be generated.

python -m tests.support.generate src       write it
python -m tests.support.generate --check   generate into a temporary folder and compare, file by file
"""

import filecmp
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path("junctor/v1")
GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi")


def generate(target: Path) -> None:
    """Write messages and stubs for every proto, and service code for the services."""
    protos = sorted((ROOT / "protos" / PACKAGE).glob("*.proto"))
    services = [proto for proto in protos if proto.stem.endswith("_service")]
    bin_dir = Path(sys.executable).parent
    plugins = [f"--plugin=protoc-gen-{name}={bin_dir / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")]
    command = [sys.executable, "-m", "grpc_tools.protoc", *plugins, f"-I{ROOT / 'protos'}"]
    subprocess.run([*command, f"--python_out={target}", f"--mypy_out=quiet:{target}", *map(str, protos)], check=True, cwd=ROOT)
    subprocess.run(
        [*command, f"--grpc_python_out={target}", f"--mypy_grpc_out=quiet:{target}", *map(str, services)],
        check=True,
        cwd=ROOT,
    )


def differences() -> list[str]:
    """Return the names of files that differ from what would be generated, or that stand on one side only."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        names = {path.name for pattern in GENERATED for path in (fresh / PACKAGE).glob(pattern)}
        kept = {path.name for pattern in GENERATED for path in (ROOT / "src" / PACKAGE).glob(pattern)}
        same = {
            name for name in names & kept if filecmp.cmp(fresh / PACKAGE / name, ROOT / "src" / PACKAGE / name, shallow=False)
        }
    return sorted((names | kept) - same)


def main(arguments: list[str]) -> int:
    """Do what the command line says; return the exit status."""
    if arguments == ["--check"]:
        stale = differences()
        for name in stale:
            print(f"src/{PACKAGE}/{name} is not what protos/ gives: run `poe generate`")
        return 1 if stale else 0
    generate(ROOT / arguments[0])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
