"""Ctrl-C and SIGTERM stop what the database is executing, too.

A signal handler of Python runs when the driver returns, which may be an hour later. So a thread,
which the interpreter wakes at once, cancels the statement; the driver then raises its own error,
and its connection stays in order. Where no statement is executed the handler raises by itself, or
cancels the tasks of an event loop: what is raised in the loop would not reach them.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from contextlib import suppress
from contextvars import ContextVar
import signal
import socket
import sys
import threading
import time
import typing as t

import sqlalchemy as sa

from flask_dbmigrate.dialects import Cancellation
from flask_dbmigrate.dialects import facts_of

from .connection import run_separately

_SAID: dict[int, str] = {signal.SIGINT: "Interrupted.", signal.SIGTERM: "Terminated."}

_EVENTS = (
    "before_cursor_execute",
    "after_cursor_execute",
    "handle_error",
    "prepare_twophase",
    "begin_twophase",
)

_INTERVAL = 0.1
"""Seconds between two tries to cancel: the first may come before its statement."""

_PATIENCE = 1.0
"""Seconds that a statement has to end by itself, and that a repeated signal is taken for one."""


class Stopped(KeyboardInterrupt):
    """A signal ended the command; drivers clean up after a KeyboardInterrupt.

    :param signum: Which signal.
    """

    where = ""
    """What it stopped, and where the databases stand, in sentences."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum

    def __str__(self) -> str:
        return f"{_SAID[self.signum]} {self.where}".rstrip()


class _Interruption:
    """What becomes of the first signal, and of those that follow."""

    def __init__(self) -> None:
        self.stopped: Stopped | None = None
        self.is_unwinding = False
        self.is_over = threading.Event()
        self._thread = threading.get_ident()
        self._deaf_until = 0.0
        self._is_executing = False
        self._is_committing = False
        self._is_scheduled = False
        self._connection: t.Any = None
        self._engine: sa.Engine
        self._cancellation: Cancellation = None

    def handle(self, signum: int, frame: object) -> None:
        """Raise, unless a statement is executed that can be cancelled."""
        now = time.monotonic()
        if self.stopped is None:
            self.stopped = Stopped(signum)
            self._deaf_until = now + _PATIENCE if self._is_executing else now
        if now >= self._deaf_until and not self._is_committing:
            is_repeated = self._is_scheduled or self.is_unwinding
            loop = None if is_repeated else _event_loop_at_work()
            if loop is None:
                raise self._unwind()
            self._is_scheduled, self._deaf_until = True, now + _PATIENCE
            loop.call_soon_threadsafe(self._cancel_tasks, self._is_executing)

    def _cancel_tasks(self, was_executing: bool) -> None:
        """Cancel the tasks of the event loop, unless one has just begun what is left to end."""
        self._is_scheduled = False
        has_begun = self._is_committing or (self._is_executing and not was_executing)
        if not self.is_unwinding and not has_begun:
            self._unwind()
            for task in asyncio.all_tasks():
                task.cancel()

    def _unwind(self) -> Stopped:
        assert self.stopped is not None
        self._deaf_until = time.monotonic() + _PATIENCE
        self.is_unwinding = True
        self.is_over.set()
        return self.stopped

    def before_cursor_execute(self, connection: sa.Connection, *_: t.Any) -> None:
        if threading.get_ident() != self._thread:
            return
        dbapi_connection = connection.connection.dbapi_connection
        if dbapi_connection is not self._connection:  # mysqlclient knows it in this thread only
            self._connection, self._engine = dbapi_connection, connection.engine
            self._cancellation = None
            with suppress(AttributeError, TypeError):  # a driver that nobody has tried
                facts = facts_of(connection.dialect.name)
                self._cancellation = facts.cancellation(dbapi_connection)
        self._is_executing = True

    def after_cursor_execute(self, *_: t.Any) -> None:
        if stopped := self.handle_error():
            raise stopped

    def handle_error(self, _: object = None) -> Stopped | None:
        """Tell what is to be raised now that the driver has returned."""
        if threading.get_ident() != self._thread:
            return None
        self._is_executing = False
        is_due = self.stopped and not self.is_unwinding and not self._is_committing
        return self._unwind() if is_due else None

    def prepare_twophase(self, *_: object) -> None:
        self._is_committing = True  # what is begun now has to be completed

    def begin_twophase(self, *_: object) -> None:
        self._is_committing = False  # this is another try

    def watch(self, receiver: socket.socket, signals: t.Collection[int]) -> None:
        """Cancel statements from the first signal on, until the main thread has begun to unwind."""
        try:
            while (received := receiver.recv(1)) and received[0] not in signals:
                pass  # a signal that somebody else handles
        except OSError:  # it was closed before this thread began
            return
        deadline = time.monotonic() + _PATIENCE
        while received and not self.is_over.wait(_INTERVAL):
            if self._is_committing:
                continue
            if time.monotonic() > deadline:
                signal.pthread_kill(self._thread, received[0])
            with suppress(Exception):  # the connection may be closed by now
                self._cancel()

    def _cancel(self) -> None:
        if callable(self._cancellation):
            self._cancellation()
        elif (statement := self._cancellation) is not None:
            run_separately(self._engine, lambda connection: connection.exec_driver_sql(statement))


def _event_loop_at_work() -> asyncio.AbstractEventLoop | None:
    """Find the event loop of this thread, if a driver or the loop itself is at work in it.

    Code that does not know of it runs in a greenlet.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return None
    greenlet = sys.modules.get("greenlet")
    return loop if greenlet is None or greenlet.getcurrent().parent is None else None


_current: ContextVar[_Interruption] = ContextVar("flask_dbmigrate.interruption")


@contextmanager
def stops_raised() -> t.Iterator[None]:
    """Raise what stopped the command, whatever has become of it on its way.

    Some drivers swallow it and raise their own error, a task is told of it by a CancelledError,
    and to roll back may fail.

    :raises Stopped: if there was a signal.
    """
    try:
        yield
    except BaseException as error:
        interruption = _current.get(None)
        stopped = interruption.stopped if interruption and interruption.is_unwinding else None
        if stopped is None or error is stopped:
            raise
        raise stopped from error


@contextmanager
def stoppable() -> t.Iterator[None]:
    """Let SIGINT and SIGTERM stop what is done meanwhile.

    Outside of the main thread there are no signals, and one that is ignored stays ignored.

    :raises Stopped: if one did, when everything is rolled back and closed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    interruption = _Interruption()
    token = _current.set(interruption)
    try:
        with stops_raised(), _statements_followed(interruption), _signals_handled(interruption):
            yield
    finally:
        _current.reset(token)
    if interruption.stopped is not None:  # it came too late to stop anything
        raise interruption.stopped


@contextmanager
def _statements_followed(interruption: _Interruption) -> t.Iterator[None]:
    """Let it know of all statements, on whichever engine."""
    listeners = {name: getattr(interruption, name) for name in _EVENTS}
    for name, listener in listeners.items():
        sa.event.listen(sa.Engine, name, listener)
    try:
        yield
    finally:
        for name, listener in listeners.items():
            sa.event.remove(sa.Engine, name, listener)


@contextmanager
def _signals_handled(interruption: _Interruption) -> t.Iterator[None]:
    """Let it handle the signals, and a thread of its own see them at once."""
    signals = [name for name in _SAID if signal.getsignal(name) not in (signal.SIG_IGN, None)]
    receiver, sender = socket.socketpair()
    with receiver, sender:
        sender.setblocking(False)
        thread = threading.Thread(target=interruption.watch, args=(receiver, signals), daemon=True)
        thread.start()
        wakeup = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        handlers = {name: signal.signal(name, interruption.handle) for name in signals}
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            sender.close()
            interruption.is_over.set()
            thread.join(1)  # it sends signals
            for name, handler in handlers.items():
                signal.signal(name, handler)
