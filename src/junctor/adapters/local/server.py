"""The model process: llama.cpp's own HTTP server on a free loopback port, for as long as its parent lives.

It runs apart from Junctor so that a fault in native code, or its memory, cannot take the router down. The parent holds the
other end of stdin and never closes it while it wants the model, so the end of stdin means that the parent is done or dead:
that works for kill -9 too, and on every system. Run as `python -m junctor.adapters.local.server`; not for import, as
xllamacpp need not be there.
"""

import os
import sys

import msgspec
import xllamacpp

from junctor.adapters.local.messages import MODEL_ALIAS, Listening, ServerConfig

STDOUT = 1
STDERR = 2


def main() -> None:
    """Serve what stdin's first line asks for until stdin ends. Raises msgspec.DecodeError on any other line."""
    answers = os.dup(STDOUT)
    os.dup2(STDERR, STDOUT)  # whatever native code prints belongs in the log
    config = msgspec.json.decode(sys.stdin.buffer.readline(), type=ServerConfig)
    server = xllamacpp.Server(_params(config))
    os.write(answers, msgspec.json.encode(Listening(server.listening_address)) + b"\n")
    os.close(answers)
    sys.stdin.buffer.read()
    os._exit(0)  # tearing the server down in order would wait for answers that nobody reads any more


def _params(config: ServerConfig) -> "xllamacpp.CommonParams":
    params = xllamacpp.CommonParams()
    params.model.path = config.model_path
    params.model_alias = {MODEL_ALIAS}  # else answers show the file's path
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [config.api_key]
    params.n_ctx = config.context_tokens * config.parallel  # llama.cpp divides it among its slots
    params.n_parallel = config.parallel
    params.cpuparams.n_threads = 1  # more threads spin against each other as soon as another process is busy
    params.cpuparams_batch.n_threads = 1
    params.ui = False
    return params


if __name__ == "__main__":
    main()
