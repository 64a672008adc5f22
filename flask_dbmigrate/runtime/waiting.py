"""Waits for a database that is about to come up."""

from __future__ import annotations

import time
import typing as t

from flask_dbmigrate.errors import DatabaseUnavailableError

from .result import Listener

ResultT = t.TypeVar("ResultT")

_INTERVAL = 0.5
"""Seconds between two tries."""


def until_available(
    work: t.Callable[[], ResultT], *, seconds: float, listener: Listener
) -> ResultT:
    """Do some work, and do it again while a database refuses connections or is starting up.

    One that is lost after it was there for longer than that is awaited anew.

    :param seconds: How long to wait.
    :raises DatabaseUnavailableError: if it is not there by then, or if waiting does not help.
    """
    deadline = time.monotonic() + seconds
    is_told = False
    while True:
        began = time.monotonic()
        try:
            return work()
        except DatabaseUnavailableError as error:
            now = time.monotonic()
            if error.was_connected and now - began > seconds:
                deadline, is_told = now + seconds, False
            if not error.is_transient or now >= deadline:
                raise
            if not is_told:
                listener.database_awaited(error.message)
                is_told = True
        time.sleep(_INTERVAL)
