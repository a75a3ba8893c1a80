"""The small model that answers without any account: its process, from start to end.

Refuses to know what the model is asked: requests go to its address like to any provider. Invariant: the process never
outlives this one (server.py watches its stdin), and a Ctrl-C in the terminal does not reach it, so that calls in flight can
be drained before `stop`.
"""

import asyncio
import importlib.util
import os
import platform
import secrets
import subprocess
import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from junctor.adapters.local.messages import Listening, ServerConfig

PACKAGE = "xllamacpp"
CONTEXT_TOKENS = 2048
PARALLEL = 2
START_S = 60.0
"""How long the model may take to load: it takes a quarter of a second, unless the disk is cold and the machine busy."""
STOP_S = 5.0

OTHER_MODELS = "a key such as OPENAI_API_KEY or GROQ_API_KEY in the environment opens larger models at once"


class LocalModelError(Exception):
    """The model process could not start, or ended. The message is one line for people and names the log."""


class Running(Struct, frozen=True):
    """Where the model answers: `base_url` is what an endpoint of the openai_chat dialect needs."""

    base_url: str
    api_key: str

    def __repr__(self) -> str:
        """Show the address only: the key is a secret."""
        return f"Running(base_url={self.base_url!r})"


def available() -> bool:
    """Tell whether the model can run here, without importing native code."""
    return importlib.util.find_spec(PACKAGE) is not None


def unavailable_line() -> str:
    """Say in one line what to do where `available` is False."""
    if _has_wheel():
        return f"The local model needs one more package: pip install 'junctor[local]'; or {OTHER_MODELS}."
    machine = f"{platform.system()} {platform.machine()}"
    return f"The local model has no prebuilt package for {machine}: run Junctor in its container; or {OTHER_MODELS}."


def _has_wheel() -> bool:
    machine = platform.machine().lower()
    if sys.platform == "linux":
        return machine in {"x86_64", "aarch64"} and platform.libc_ver()[0] == "glibc"
    return sys.platform == "darwin" or (sys.platform == "win32" and machine == "amd64")


class LocalModel:
    """One model process. Start it once; after `stop`, or after it ended by itself, make a new one."""

    def __init__(self, *, context_tokens: int = CONTEXT_TOKENS, parallel: int = PARALLEL) -> None:
        """Set how many calls run at once, and how many tokens each may hold."""
        self._context_tokens = context_tokens
        self._parallel = parallel
        self._process: asyncio.subprocess.Process | None = None
        self._log_path = Path()

    async def start(self, weights: Path, log_path: Path) -> Running:
        """Start serving the weights; llama.cpp's own lines go to the log. Raises LocalModelError."""
        config = ServerConfig(
            model_path=str(weights),
            api_key=secrets.token_urlsafe(32),
            context_tokens=self._context_tokens,
            parallel=self._parallel,
        )
        self._log_path = log_path
        self._process = process = await _spawn(log_path)
        try:
            listening = await _introduce(process, config, log_path)
        except BaseException:
            await self.stop()
            raise
        return Running(f"{listening.address}/v1", config.api_key)

    async def ended(self) -> None:
        """Wait until the process ends. Raises LocalModelError unless `stop` ended it."""
        process = self._process
        if process is None:
            return
        code = await process.wait()
        if self._process is process:
            raise LocalModelError(f"The local model ended by itself (exit code {code}); its log is {self._log_path}.")

    async def stop(self) -> None:
        """End the process and wait until it is gone. Safe to repeat."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _spawn(log_path: Path) -> asyncio.subprocess.Process:
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP
    try:
        log_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError:
        raise LocalModelError(f"The local model's log {log_path} cannot be written.") from None
    try:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # nothing in the working folder may pose as a module
            "-m",
            "junctor.adapters.local.server",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,  # keeps a terminal's Ctrl-C away; Windows ignores it and has the flag
            creationflags=flags,
        )
    finally:
        os.close(log)


async def _introduce(process: asyncio.subprocess.Process, config: ServerConfig, log_path: Path) -> Listening:
    """Hand over the order and read the answer."""
    if process.stdin is None or process.stdout is None:
        raise LocalModelError("The local model's process has no pipes.")
    try:
        async with asyncio.timeout(START_S):
            process.stdin.write(msgspec.json.encode(config) + b"\n")
            await process.stdin.drain()
            answer = await process.stdout.readline()
        return msgspec.json.decode(answer, type=Listening)
    except TimeoutError:
        raise LocalModelError(f"The local model did not load within {START_S:.0f} s; its log is {log_path}.") from None
    except (OSError, msgspec.DecodeError):
        raise LocalModelError(f"The local model ended while it was loading; its log is {log_path}.") from None
