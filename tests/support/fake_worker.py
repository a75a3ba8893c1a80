"""Stands for a process of `junctor serve` where the test is about who leads it; started by path, in few milliseconds.

`serve` answers every connection on JUNCTOR_LISTEN with its process id and ends when it is told to; `insisted` ends only when it
is insisted upon; `short` listens and ends at once; `unfit` ends before it listens. What it is told goes to a file.
"""

import os
import selectors
import socket
import sys
from pathlib import Path


def main(kind: str, heard: Path) -> int:
    """Do as the kind says, and return the exit status."""
    if kind == "unfit":
        return 3
    if kind == "short":
        os.write(1, b"listening\n")
        return 4
    host, _, port = os.environ["JUNCTOR_LISTEN"].rpartition(":")
    with selectors.DefaultSelector() as ready, socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, int(port)))
        listener.listen(64)
        os.write(1, b"listening\n")
        ready.register(listener, selectors.EVENT_READ)
        ready.register(0, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                if key.fd:
                    connection, _ = listener.accept()
                    connection.sendall(b"%d" % os.getpid())
                    connection.close()
                    continue
                said = os.read(0, 64)
                with heard.open("ab") as file:
                    file.write(said or b"alone\n")
                if kind == "serve" or b"now" in said or not said:
                    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
