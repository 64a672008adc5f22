"""Sends the signals of a run."""

from __future__ import annotations

import logging
import typing as t

from blinker import NamedSignal
from flask import Flask

from flask_dbmigrate import signals
from flask_dbmigrate.errors import DBMigrateError
from flask_dbmigrate.errors import MigrationError
from flask_dbmigrate.wording import words_of

from .result import MigrationResult
from .result import StepResult
from .visit import Visit

log = logging.getLogger("flask_dbmigrate")


class Announcer:
    """Sends the signals of one run; see :mod:`flask_dbmigrate.signals`.

    :param app: The sender.
    :param command: ``upgrade``, ``downgrade`` or ``stamp``; None for what sends no signals.
    """

    def __init__(self, app: Flask, command: str | None) -> None:
        self._app = app
        self._command = command

    @property
    def is_heard(self) -> bool:
        """Whether anybody wants to know of the run as a whole."""
        pair = (signals.before_run, signals.after_run)
        return self._command is not None and any(
            signal.has_receivers_for(self._app) for signal in pair
        )

    def around(self, looked: list[Visit], work: t.Callable[[], list[Visit]]) -> list[Visit]:
        """Send ``before_run``, do some work, and send ``after_run`` however it ends.

        :param looked: What was seen of the databases.
        """
        pending = tuple(visit.key for visit in looked if visit.pending)
        databases = pending or tuple(visit.key for visit in looked)
        try:
            self._send(signals.before_run, "Nothing was run", databases=databases)
            visits = work()
        except BaseException as error:
            self._run_failed(databases, error)
            raise
        result = MigrationResult(tuple(visit.result for visit in visits))
        facts = {"databases": databases, "result": result, "error": None}
        self._send(signals.after_run, "The run itself is complete", **facts)
        return visits

    def _run_failed(self, databases: tuple[str, ...], error: BaseException) -> None:
        facts = {"databases": databases, "result": None, "error": error}
        try:
            self._send(signals.after_run, "The run had failed before", **facts)
        except DBMigrateError as second:
            log.error("%s", second)

    def revision_done(self, database: str, step: StepResult) -> None:
        """Send ``after_revision``."""
        facts = {"database": database, "step": step}
        self._send(signals.after_revision, "What was run until then is committed", **facts)

    def _send(self, signal: NamedSignal, standing: str, **facts: t.Any) -> None:
        """Send a signal.

        :param standing: What an error says about the run.
        """
        if self._command is None:
            return
        to_sync = self._app.ensure_sync
        try:
            signal.send(self._app, _async_wrapper=to_sync, command=self._command, **facts)
        except DBMigrateError:
            raise
        except (Exception, SystemExit) as error:
            name = signal.name.replace("-", "_")
            text = words_of(error).rstrip(".")
            said = ": ".join(filter(None, (type(error).__name__, text)))
            raise MigrationError(
                f"A receiver of the signal '{name}' failed: {said}. {standing}.",
                hint="Add '--traceback' to see where.",
            ) from error
