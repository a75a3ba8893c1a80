"""What the judges are made with, by Go, once, in the user's cache: grpcurl, the plugins of protoc, and the client itself.

Versions are pinned here and in go/go.mod, sums in go/go.sum. The client's messages and stubs are generated from protos/ each
time, so that it judges what is in the tree.
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import platformdirs

ROOT = Path(__file__).resolve().parents[2]
SOURCE = Path(__file__).with_name("go")
TOOLS = {
    "grpcurl": "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4",
    "protoc-gen-go": "google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12",
    "protoc-gen-go-grpc": "google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2",
}
LONGEST_S = 900.0
"""Seconds after which a step is given up: a first build fetches and compiles grpc for Go."""


def missing() -> str:
    """Say what is not here that the judges need, empty if nothing."""
    return "" if shutil.which("go") else "Go is not here"


def tool(name: str) -> Path:
    """Return a tool, which is built the first time. Raises CalledProcessError, TimeoutExpired."""
    source = TOOLS[name]
    made_of = f"{source.rpartition('/')[2]}-{platform.system()}-{platform.machine()}".lower()
    folder = platformdirs.user_cache_path("junctor", appauthor=False) / "judges" / made_of
    program = folder / name
    if not program.exists():
        with tempfile.TemporaryDirectory(prefix="junctor-judge-") as fresh:
            _run("go", "install", source, GOBIN=fresh)
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(fresh) / name, folder / f"{name}.new")
            (folder / f"{name}.new").replace(program)
    return program


def go_client(folder: Path) -> Path:
    """Build the client in a folder, from protos/ and go/. Raises CalledProcessError, TimeoutExpired."""
    for source in SOURCE.iterdir():
        shutil.copy(source, folder / source.name)
    protos = sorted(path.relative_to(ROOT / "protos").as_posix() for path in (ROOT / "protos").rglob("*.proto"))
    package = [f"M{proto}=judge/junctorv1" for proto in protos]
    plugins = [f"--plugin={name}={tool(name)}" for name in ("protoc-gen-go", "protoc-gen-go-grpc")]
    options = [f"--{kind}_opt={','.join(['module=judge', *package])}" for kind in ("go", "go-grpc")]
    outputs = [f"--{kind}_out={folder}" for kind in ("go", "go-grpc")]
    protoc = (sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'protos'}")
    _run(*protoc, *plugins, *options, *outputs, *protos)
    _run("go", "build", "-mod=readonly", "-o", "judge", ".", within=folder)
    return folder / "judge"


def _run(*command: str, within: Path | None = None, **environment: str) -> None:
    around = {**os.environ, "GOFLAGS": "", "GOTOOLCHAIN": "local", **environment}
    subprocess.run(command, stdin=subprocess.DEVNULL, env=around, cwd=within, timeout=LONGEST_S, check=True)
