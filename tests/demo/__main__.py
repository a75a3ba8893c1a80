"""`poe demo`: all of Junctor on free ports, one Complete and one Stream answered by the real local model, and a clean stop.

Everything runs as its users run it: `junctor up` in a process of its own with a data folder that goes afterwards, and the
Python client over gRPC with the key that `up` made. The model's weights stay in the user's cache, so a second run fetches
nothing. `--junctor PATH` shows an installed `junctor` instead of this checkout's.
"""

import argparse
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from junctor.client import Client, JunctorRpcError
from junctor.v1.completion_pb2 import Usage
from junctor.v1.routing_pb2 import RouteReport

MODEL = "junctor/local"
PROMPT = "Name three fruits."
START_S, CALL_S, STOP_S = 85.0, 30.0, 15.0
_LISTENING = re.compile(r"gRPC +(\S+:\d+)")


class DemoError(Exception):
    """The demo could not be shown; the text says why."""


def main() -> int:
    """Show it; return the exit status."""
    parser = argparse.ArgumentParser(prog="poe demo", description="Start Junctor, ask the local model twice, stop.")
    parser.add_argument("--junctor", metavar="PATH", help="the junctor command to show; default: this checkout's")
    chosen = parser.parse_args().junctor
    junctor = [chosen] if chosen else [sys.executable, "-m", "junctor"]
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="junctor-demo-") as folder, _junctor_up(junctor, Path(folder)) as target:
            key = (Path(folder) / "first-key").read_text(encoding="utf-8").strip()
            with Client(target, key) as client:
                _complete(client)
                _stream(client)
    except (DemoError, JunctorRpcError) as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    print(f"\nDone in {time.monotonic() - started:.1f} s: started, answered twice, stopped. Yours to keep: junctor up")
    return 0


def _complete(client: Client) -> None:
    print(f"\nComplete: {PROMPT}")
    answer = client.complete(PROMPT, model=MODEL, temperature=0.0, max_tokens=60, timeout_s=CALL_S)
    print("".join(part.text.text for part in answer.choices[0].message.parts))
    _facts(answer.route, answer.usage, answer.time_to_first_token_ms)


def _stream(client: Client) -> None:
    print(f"\nStream: {PROMPT}")
    for event in client.stream(PROMPT, model=MODEL, temperature=0.0, max_tokens=60, timeout_s=CALL_S):
        if event.HasField("delta"):
            print(event.delta.content, end="", flush=True)
        elif event.HasField("finished"):
            print()
            _facts(event.finished.route, event.finished.usage, event.finished.time_to_first_token_ms)


def _facts(route: RouteReport, usage: Usage, time_to_first_token_ms: int) -> None:
    print(
        f"  model {route.served_model} · provider {route.provider} · {usage.input_tokens} tokens in, {usage.output_tokens} out"
        f" · first token after {time_to_first_token_ms} ms"
    )


@contextmanager
def _junctor_up(junctor: list[str], folder: Path) -> Iterator[str]:
    """Run `junctor up` and yield where it listens; end it as Ctrl-C would, and insist that it ends well."""
    command = [*junctor, "up", "--listen", "127.0.0.1:0", "--data-dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield _relay_until_listening(process)
        print()
        process.send_signal(signal.SIGINT)
        if process.wait(STOP_S) != 0:
            raise DemoError(f"junctor up ended with status {process.returncode}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _relay_until_listening(process: "subprocess.Popen[str]") -> str:
    """Pass on what `up` says, line by line, and return the address once it has said all."""
    found: list[str] = []
    told_all = threading.Event()

    def relay() -> None:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            match = _LISTENING.search(line)
            if match:
                found.append(match[1])
            if found and "Ctrl-C to stop" in line:
                told_all.set()
        told_all.set()

    threading.Thread(target=relay, daemon=True).start()
    if not told_all.wait(START_S):
        raise DemoError(f"junctor up was not ready within {START_S:.0f} s")
    if not found:
        raise DemoError("junctor up did not start")
    return found[0]


if __name__ == "__main__":
    sys.exit(main())
