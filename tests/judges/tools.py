"""What the judges are made with, by Go, once, in the user's cache: grpcurl, the plugins of protoc, and the client itself.

Versions are pinned here and in go/go.mod, sums in go/go.sum. The client's messages and stubs are generated from protos/ each
time, so that it judges what is in the tree.
"""

import shutil
import sys
from pathlib import Path

from tests.support.engines.__main__ import make, run
from tests.support.engines.places import place

ROOT = Path(__file__).resolve().parents[2]
SOURCE = Path(__file__).with_name("go")
TOOLS = {
    "grpcurl": "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4",
    "protoc-gen-go": "google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12",
    "protoc-gen-go-grpc": "google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2",
}
_GO = {"GOFLAGS": "", "GOTOOLCHAIN": "local"}


def missing() -> str:
    """Say what is not here that the judges need, empty if nothing."""
    return "" if shutil.which("go") else "Go is not here"


def tool(name: str) -> Path:
    """Return a tool, which is built the first time. Raises CalledProcessError, TimeoutExpired."""
    where = place("judges", name, name, TOOLS[name])
    make(where, lambda fresh: run("go", "install", TOOLS[name], environment=_GO | {"GOBIN": str(fresh.folder)}))
    return where.program


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
    run(*protoc, *plugins, *options, *outputs, *protos)
    run("go", "build", "-mod=readonly", "-o", "judge", ".", within=folder, environment=_GO)
    return folder / "judge"
