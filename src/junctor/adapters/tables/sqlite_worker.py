"""A thread that owns one SQLite connection and works off a queue of jobs, many of them in one go.

Answers to asyncio callers go back with one wake-up per batch and loop, because waking a loop costs more than most jobs. The
writing worker runs a batch as one transaction, and no caller hears of a success before the whole batch is on disk. A job that
raises fails its own caller only: one that had written nothing leaves nothing to undo, and otherwise the whole batch is rolled
back and done again with a savepoint for each job, which is rare, and spares all others the savepoint. A job that is alone and
writes by one statement needs no transaction around it: SQLite makes that statement one by itself. The reading worker runs jobs
one by one. A job may be applied although its caller was cancelled.

Where several write, a batch waits a moment for more of them: what a commit costs, and the turns at Python's lock around it, are
then shared by several times as many.

A statement costs by being called, whatever it does: between two commits other work has filled the processor's caches, and each
call into SQLite gives Python's lock away five or six times.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar, TypeVarTuple

from junctor.ports.table import UnavailableError, UnknownOutcomeError

_Answer = TypeVar("_Answer")
_Arguments = TypeVarTuple("_Arguments")

BATCH_MAX = 256
"""The most jobs of one batch, which bounds how long a caller waits for others."""

LINGER_S = 0.001
"""How long a batch waits for more, where the one before it had several jobs.

With 16 and 64 calls in flight it takes 7 to 16 % off a call's CPU (decision 022); an answer leaves that much later.
"""

_Job = tuple["asyncio.Future[object]", Callable[..., object], tuple[object, ...], Callable[..., object] | None]
"""Who waits, the work, its arguments, and what to try instead where it is alone (`WritingWorker.write`).

It may be done again from the start, once it was rolled back.
"""

_FAILURES = (sqlite3.Error, MemoryError)
"""What SQLite cannot do: where it has no memory, Python does not call it an error of SQLite's."""

_BEFORE = frozenset({sqlite3.SQLITE_ERROR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_READONLY})
"""How SQLite fails a statement that it has not begun to run, or cannot lock the file for: nothing was written."""

_MISTAKES = (TypeError, ValueError)
"""What a caller did wrong, which is found before anything is written for him."""


class Worker:
    """A thread with a connection of its own, for reading."""

    def __init__(self, name: str, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._gate = threading.Lock()
        self._open = True
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def call(
        self, work: Callable[[sqlite3.Connection, *_Arguments], _Answer], *arguments: *_Arguments
    ) -> "asyncio.Future[_Answer]":
        """Have some work done with the connection. The future raises StoreError, and what the work raises.

        Raises:
            UnavailableError: the worker was closed.
        """
        future = asyncio.get_running_loop().create_future()
        self._accept((future, work, arguments, None))
        return future

    async def close(self) -> None:
        """Finish the jobs that were accepted, close the connection and end the thread. Safe to repeat."""
        with self._gate:
            if self._open:
                self._open = False
                self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def run(self, connection: sqlite3.Connection, batch: Sequence[_Job]) -> Sequence[object]:
        """Run the jobs of one batch, and return an answer or an exception for each."""
        return [_outcome(connection, job) for job in batch]

    def linger(self) -> None:
        """Wait for jobs that are soon to come, once there is one: here nobody gains by it."""

    def _accept(self, job: _Job) -> None:
        with self._gate:
            if not self._open:
                raise UnavailableError("the store is closed")
            self._queue.put(job)

    def _serve(self) -> None:
        more = True
        while more:
            batch, more = self._next_batch()
            if batch:
                _answer(batch, self.run(self._connection, batch))
        self._connection.close()

    def _next_batch(self) -> tuple[Sequence[_Job], bool]:
        """Wait for a job and take with it whatever waits too. The second part is False when no more will come."""
        batch: list[_Job] = []
        try:
            job = self._queue.get()
            self.linger()
            while job is not None:
                batch.append(job)
                if len(batch) == BATCH_MAX:
                    return batch, True
                job = self._queue.get_nowait()
        except queue.Empty:
            return batch, True
        return batch, False


class WritingWorker(Worker):
    """A worker whose batches are transactions. `forget` is called in its thread whenever anything was rolled back."""

    def __init__(self, name: str, connection: sqlite3.Connection, forget: Callable[[], None]) -> None:
        self._forget = forget
        self._several = False
        super().__init__(name, connection)

    def write(
        self,
        alone: Callable[[sqlite3.Connection, *_Arguments], _Answer | None],
        work: Callable[[sqlite3.Connection, *_Arguments], _Answer],
        *arguments: *_Arguments,
    ) -> "asyncio.Future[_Answer]":
        """Have some work done, as `call` does; `alone` is tried instead where nobody else's is in the batch.

        It is run without a transaction, and must write by one statement, or nothing and return None: then the work is done.

        Raises:
            UnavailableError: the worker was closed.
        """
        future = asyncio.get_running_loop().create_future()
        self._accept((future, work, arguments, alone))
        return future

    def linger(self) -> None:
        """Wait for others who write, if there were any of late."""
        if self._several:
            time.sleep(LINGER_S)

    def run(self, connection: sqlite3.Connection, batch: Sequence[_Job]) -> Sequence[object]:
        """Run a batch in one transaction, and commit before any success is told."""
        self._several = len(batch) > 1
        if len(batch) == 1 and (outcome := self._alone(connection, batch[0])) is not None:
            return (outcome,)
        try:
            connection.execute("BEGIN IMMEDIATE")
            outcomes = self._together(connection, batch) or self._one_by_one(connection, batch)
        except _FAILURES as error:
            self._undo(connection)
            return [_unavailable(error)] * len(batch)
        try:
            connection.execute("COMMIT")
        except _FAILURES as error:
            self._undo(connection)
            lost = _lost(error)
            return [outcome if isinstance(outcome, _MISTAKES) else lost for outcome in outcomes]
        return outcomes

    def _alone(self, connection: sqlite3.Connection, job: _Job) -> object:
        """Try to do some work by one statement, and return its answer or its exception; None if it is still to be done."""
        _, _, arguments, alone = job
        # Where a rollback has failed, a transaction is open still: what is written in it is not on disk.
        if alone is None or connection.in_transaction:
            return None
        try:
            return alone(connection, *arguments)
        except _FAILURES as error:
            self._undo(connection)
            # The statement commits as well, so that only what fails before it runs is known to have written nothing.
            before = isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", None) in _BEFORE
            return _unavailable(error) if before else _lost(error)
        except Exception as error:  # noqa: BLE001 - as in _outcome
            self._forget()
            return error

    def _together(self, connection: sqlite3.Connection, batch: Sequence[_Job]) -> Sequence[object]:
        """Run all jobs with nothing between them. If one fails that may have written, undo all and return nothing."""
        outcomes: list[object] = []
        for _, work, arguments, _ in batch:
            written = connection.total_changes
            try:
                outcomes.append(work(connection, *arguments))
            except Exception as error:  # noqa: BLE001 - as in _outcome
                if not isinstance(error, _MISTAKES) or connection.total_changes != written:
                    self._undo(connection)
                    connection.execute("BEGIN IMMEDIATE")
                    return ()
                outcomes.append(error)
        return outcomes

    def _one_by_one(self, connection: sqlite3.Connection, batch: Sequence[_Job]) -> Sequence[object]:
        """Run each job in a savepoint, so that what fails halfway takes nobody else with it."""
        outcomes: list[object] = []
        for job in batch:
            connection.execute("SAVEPOINT job")
            outcome = _outcome(connection, job)
            if isinstance(outcome, Exception):
                self._forget()
                # On a full disk and its like SQLite has rolled back the whole batch by itself: then this raises too.
                connection.execute("ROLLBACK TO job")
            connection.execute("RELEASE job")
            outcomes.append(outcome)
        return outcomes

    def _undo(self, connection: sqlite3.Connection) -> None:
        self._forget()
        with contextlib.suppress(*_FAILURES):
            if connection.in_transaction:
                connection.execute("ROLLBACK")


def _outcome(connection: sqlite3.Connection, job: _Job) -> object:
    """Do some work, and return its answer or its exception."""
    _, work, arguments, _ = job
    try:
        return work(connection, *arguments)
    except _FAILURES as error:
        return _unavailable(error)
    except Exception as error:  # noqa: BLE001 - a worker outlives its jobs; the error goes to whoever asked
        return error


def _answer(batch: Sequence[_Job], outcomes: Sequence[object]) -> None:
    for loop in {job[0].get_loop() for job in batch}:
        try:
            loop.call_soon_threadsafe(_answer_here, loop, batch, outcomes)
        except RuntimeError:
            # The loop was closed: nobody waits there any more.
            continue


def _answer_here(loop: asyncio.AbstractEventLoop, batch: Sequence[_Job], outcomes: Sequence[object]) -> None:
    for (future, _, _, _), outcome in zip(batch, outcomes, strict=True):
        if future.done() or future.get_loop() is not loop:
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)


def _unavailable(error: sqlite3.Error | MemoryError) -> UnavailableError:
    refusal = UnavailableError("the store's file cannot be used")
    refusal.__cause__ = error
    return refusal


def _lost(error: sqlite3.Error | MemoryError) -> UnknownOutcomeError:
    unknown = UnknownOutcomeError("the store could not confirm the write")
    unknown.__cause__ = error
    return unknown
