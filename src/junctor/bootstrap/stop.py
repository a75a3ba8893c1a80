"""What was a process asked: to end, or to end at once? The one owner of its signals.

Whatever else runs in the process - a second listener, an HTTP server - waits for these events and installs no handler of its
own: two owners would each take the other's signals away.
"""

import asyncio
import os
import signal

ASK, INSIST = b"end\n", b"now\n"
"""The words of who leads a process to it."""


class Stop:
    """What a process was asked by signals (SIGINT, SIGTERM): once to end, twice to end at once."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.insisted = asyncio.Event()

    def ask(self) -> None:
        """Take a wish to end; a second one changes nothing."""
        self.asked.set()

    def insist(self) -> None:
        """Take a wish to end at once."""
        self.asked.set()
        self.insisted.set()

    def signal(self) -> None:
        """Take one signal."""
        if self.asked.is_set():
            self.insist()
        else:
            self.ask()

    def listen(self, *, led: bool = False) -> None:
        """Take the signals of this process from now on; where it is led, they only ask, and who leads it insists.

        A terminal and a service manager may signal every process of a group, beside what their leader tells them.
        """
        loop, take = asyncio.get_running_loop(), self.ask if led else self.signal
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                loop.add_signal_handler(number, take)
            except NotImplementedError:
                signal.signal(number, lambda *_: loop.call_soon_threadsafe(take))

    def follow(self, descriptor: int) -> None:
        """Take the words of who leads this process from a pipe: ASK, INSIST, and its end, which is the leader's own."""
        loop = asyncio.get_running_loop()

        def hear() -> None:
            said = os.read(descriptor, 64)
            if not said:
                loop.remove_reader(descriptor)
            if INSIST in said:
                self.insist()
            else:
                self.ask()

        loop.add_reader(descriptor, hear)
