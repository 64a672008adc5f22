"""What a command says on stderr while it runs."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
import os
import sys
import typing as t

from flask_dbmigrate.runtime.result import Listener
from flask_dbmigrate.runtime.result import Loss
from flask_dbmigrate.runtime.result import Retry
from flask_dbmigrate.runtime.result import StepResult
from flask_dbmigrate.wording import shortened

from .console import is_terminal
from .console import note

if t.TYPE_CHECKING:
    from flask_dbmigrate.runtime.edited import EditedRevision
    from flask_dbmigrate.runtime.half_applied import HalfApplied

_WIDTH = 20
"""Of the bar, in characters."""

_LONGEST = 200
"""How much of a step is shown, in characters: its message may be a long paragraph."""


class Progress(Listener):
    """A listener that writes one line for each step, with its duration, to stderr.

    :param shows_steps: Whether to; otherwise it only says what is skipped.
    """

    def __init__(self, *, shows_steps: bool = True) -> None:
        self.shows_steps = shows_steps
        self._status = StatusLine()
        self._numbers: dict[str, int] = {}

    def database_skipped(self, database: str, reason: str) -> None:
        note(f"Database '{database}' {reason}: skipped.")

    def database_awaited(self, reason: str) -> None:
        note(f"Waiting. {reason}")

    def lock_awaited(self, database: str, holder: str) -> None:
        note(f"Waiting for database '{database}': it is being migrated by {holder}.")

    def lock_missing(self, database: str) -> None:
        note(f"Database '{database}' cannot be locked: see that no other run is at work on it.")

    def losses_found(self, database: str, losses: tuple[Loss, ...]) -> None:
        note(f"This drops from database '{database}':")
        for loss in losses:
            note(f"    {loss}{_CONTENT[loss.holds_data]}")

    def revision_edited(self, database: str, edited: EditedRevision) -> None:
        note(f"Warning: {edited}")

    def log_unavailable(self, database: str, reason: str) -> None:
        note(f"Warning: This run is not in the log of database '{database}': {reason}.")

    def statement_awaited(self, database: str, session: str) -> None:
        note(
            f"Waiting for database '{database}': it still executes what a run began that was "
            f"stopped. This is {session}."
        )

    def revision_resumed(self, database: str, half_applied: HalfApplied) -> None:
        step = f"the {half_applied.direction} of revision '{half_applied.revision}'"
        if half_applied.is_rerunnable:
            note(f"Running {step}{_place(database)} again from its start.")
        else:
            note(f"Resuming {step}{_place(database)}: {_counted(half_applied.done)} done.")

    def leftover_dropped(self, database: str, name: str) -> None:
        note(f"Dropping the invalid index '{name}'{_place(database)}, which a failed try has left.")

    def steps_planned(self, database: str, steps: tuple[str, ...]) -> None:
        self._numbers = {description: number for number, description in enumerate(steps)}
        self._status.is_line_empty = True  # whoever has answered a question, has ended the line

    def step_started(self, database: str, description: str) -> None:
        total, bar = len(self._numbers), ""
        if total > 1 and description in self._numbers:
            done = self._numbers[description]
            bar = f"[{'#' * (_WIDTH * done // total):-<{_WIDTH}}] {done}/{total} "
        self._status.show(bar + _running(database, description))

    def step_blocked(self, database: str, retry: Retry) -> None:
        start = f"{_running(database, retry.step)} ... " if retry.step else ""
        note(f"{start}{retry}")

    def step_finished(self, database: str, step: StepResult) -> None:
        if self.shows_steps:
            note(f"{_running(database, step.description)} ({step.seconds:.2f} s)")

    @contextmanager
    def on_terminal(self) -> t.Iterator[Progress]:
        """Show on a terminal which step is running, and a bar if there are several."""
        with self._status.giving_way():
            yield self


_CONTENT = {True: ", which holds data", False: "", None: ", which may hold data"}


def _running(database: str, description: str) -> str:
    return f"Running {shortened(' '.join(description.splitlines()), _LONGEST)}{_place(database)}"


def _place(database: str) -> str:
    return "" if database == "default" else f" on '{database}'"


def _counted(statements: int) -> str:
    return "1 statement is" if statements == 1 else f"{statements} statements are"


class StatusLine:
    """The last line of a terminal, which goes away when anything else is written there.

    What revisions print and what is logged therefore stands in lines of its own. To notice it,
    the standard streams themselves are changed, not replaced: handlers of logging hold on to
    them. Without a terminal there is no such line.
    """

    def __init__(self) -> None:
        has_lines = is_terminal() and os.environ.get("TERM") != "dumb"
        self._streams = {each for each in (sys.stdout, sys.stderr) if has_lines and each.isatty()}
        self._write, self._flush = sys.stderr.write, sys.stderr.flush
        self._is_watching = self._is_shown = False
        self.is_line_empty = True

    def show(self, text: str) -> None:
        """Show a text, cut off at the edge of the terminal, until something else is written."""
        self._erase()
        if self._is_watching and self.is_line_empty:
            self._is_shown = True
            self._draw(f"\033[?7l{text}\033[?7h")

    @contextmanager
    def giving_way(self) -> t.Iterator[None]:
        """Make way for all that is written meanwhile, and leave nothing behind in the end."""
        methods = [(each, name) for each in self._streams for name in ("write", "flush")]
        for stream, name in methods:
            setattr(stream, name, partial(self._give_way, getattr(stream, name)))
        self._is_watching = bool(methods)
        try:
            yield
        finally:
            self._erase()
            self._is_watching = False
            for stream, name in methods:
                delattr(stream, name)

    def _give_way(self, method: t.Callable[..., t.Any], *text: str) -> t.Any:
        """Erase the line before a stream is written to; ``input()`` only flushes it."""
        self._erase()
        if any(text):
            self.is_line_empty = text[0].endswith("\n")
        return method(*text)

    def _erase(self) -> None:
        if self._is_shown:
            self._is_shown = False
            self._draw("\r\033[K")

    def _draw(self, text: str) -> None:
        self._write(text)
        self._flush()
