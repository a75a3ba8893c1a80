"""A thread that owns one SQLite connection and works off a queue of jobs, many of them in one go.

Answers to asyncio callers go back with one wake-up per batch and loop, because waking a loop costs more than most jobs. The
writing worker runs a batch as one transaction, each job in a savepoint of its own: a job that raises fails its own caller
only, and no caller hears of a success before the whole batch is on disk. The reading worker runs jobs one by one. A job may be
applied although its caller was cancelled.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

from junctor.ports.table import StoreError, UnavailableError, UnknownOutcomeError

_Answer = TypeVar("_Answer")

BATCH_MAX = 256
"""The most jobs of one batch, which bounds how long a caller waits for others."""


class _Job:
    """One piece of work and who waits for it. `outcome` is its answer, or why there is none."""

    def __init__(self, work: Callable[[sqlite3.Connection], object]) -> None:
        self.work = work
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[object] = self.loop.create_future()
        self.outcome: object = UnavailableError("the store did not come to it")

    def run(self, connection: sqlite3.Connection) -> None:
        """Do the work and keep its outcome, whatever it is."""
        try:
            self.outcome = self.work(connection)
        except sqlite3.Error as error:
            self.outcome = _unavailable(error)
        except Exception as error:  # noqa: BLE001 - a worker outlives its jobs; the error goes to whoever asked
            self.outcome = error

    def answer(self) -> None:
        """Hand the outcome over, on the caller's loop."""
        if self.future.done():
            return
        if isinstance(self.outcome, BaseException):
            self.future.set_exception(self.outcome)
        else:
            self.future.set_result(self.outcome)


_Batch = Sequence[_Job]


class Worker:
    """A thread with a connection of its own, for reading."""

    def __init__(self, name: str, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._gate = threading.Lock()
        self._open = True
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    async def call(self, work: Callable[[sqlite3.Connection], _Answer]) -> _Answer:
        """Do some work with the connection and wait for its answer. Raises StoreError, and what the work raises."""
        job = _Job(work)
        with self._gate:
            if not self._open:
                raise UnavailableError("the store is closed")
            self._queue.put(job)
        return cast("_Answer", await job.future)

    async def close(self) -> None:
        """Finish the jobs that were accepted, close the connection and end the thread. Safe to repeat."""
        with self._gate:
            if self._open:
                self._open = False
                self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def run(self, connection: sqlite3.Connection, batch: _Batch) -> None:
        """Run the jobs of one batch and set their outcomes."""
        for job in batch:
            job.run(connection)

    def _serve(self) -> None:
        more = True
        while more:
            batch, more = self._next_batch()
            self.run(self._connection, batch)
            _answer(batch)
        self._connection.close()

    def _next_batch(self) -> tuple[_Batch, bool]:
        """Wait for a job and take with it whatever waits too. The second part is False when no more will come."""
        batch: list[_Job] = []
        try:
            job = self._queue.get()
            while job is not None:
                batch.append(job)
                if len(batch) == BATCH_MAX:
                    return batch, True
                job = self._queue.get_nowait()
        except queue.Empty:
            return batch, True
        return batch, False


class WritingWorker(Worker):
    """A worker whose batches are transactions."""

    def run(self, connection: sqlite3.Connection, batch: _Batch) -> None:
        """Run a batch in one transaction, each job in a savepoint, and commit before any success is told."""
        if not batch:
            return
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in batch:
                self._run_alone(connection, job)
        except sqlite3.Error as error:
            _roll_back(connection)
            _fail(batch, _unavailable(error))
            return
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            _roll_back(connection)
            lost = UnknownOutcomeError("the store could not confirm the write")
            lost.__cause__ = error
            _fail(batch, lost)

    @staticmethod
    def _run_alone(connection: sqlite3.Connection, job: _Job) -> None:
        connection.execute("SAVEPOINT job")
        job.run(connection)
        if isinstance(job.outcome, BaseException):
            # On a full disk and its like SQLite has rolled back the whole batch by itself: then this raises too.
            connection.execute("ROLLBACK TO job")
        connection.execute("RELEASE job")


def _roll_back(connection: sqlite3.Connection) -> None:
    with contextlib.suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _fail(batch: _Batch, error: StoreError) -> None:
    for job in batch:
        if not isinstance(job.outcome, (ValueError, TypeError)):
            job.outcome = error


def _answer(batch: _Batch) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[_Job]] = defaultdict(list)
    for job in batch:
        by_loop[job.loop].append(job)
    for loop, jobs in by_loop.items():
        try:
            loop.call_soon_threadsafe(_answer_here, jobs)
        except RuntimeError:
            # The loop was closed: nobody waits there any more.
            continue


def _answer_here(jobs: Sequence[_Job]) -> None:
    for job in jobs:
        job.answer()


def _unavailable(error: sqlite3.Error) -> UnavailableError:
    refusal = UnavailableError("the store's file cannot be used")
    refusal.__cause__ = error
    return refusal
