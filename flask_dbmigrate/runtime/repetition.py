"""Compares what a script does when it is run again with what the journal says is done."""

from __future__ import annotations

from collections.abc import Callable
import typing as t

from .journal import JournalEntry


class ScriptChangedError(Exception):
    """A script does not do again what the journal says it did; the text is a clause."""


class Repetition:
    """What is done of a revision that is run again, and how far its script has got in it.

    :param done: The statements that were executed, without those that only looked.
    :param is_complete_after: Given if the script may leave out what is done, because it looks what
        there is: tells of a line whether a script that was stopped there, and leaves that out now,
        leaves out nothing else.
    """

    def __init__(
        self,
        done: tuple[JournalEntry, ...] = (),
        is_complete_after: Callable[[int], bool] | None = None,
    ) -> None:
        self._done = done
        self._is_complete_after = is_complete_after
        self._count = 0
        self._is_over = not done
        self._change: ScriptChangedError | None = None

    def again(self, entry: JournalEntry) -> JournalEntry | None:
        """Tell which statement that is done an operation is about to execute; None if a new one.

        :raises ScriptChangedError: if it is neither what comes next nor may be executed.
        """
        self._require_no_change()
        if self._is_over:
            return None
        digests = [found.digest for found in self._done]
        following = (
            digests[self._count :] if self._is_complete_after else digests[self._count :][:1]
        )
        if entry.digest in following:
            self._count += following.index(entry.digest) + 1
            return self._done[self._count - 1]
        if entry.digest in digests[: self._count] and self._is_complete_after:
            self._refuse_difference(entry.line)
        self.go_beyond(entry)
        return None

    def go_beyond(self, entry: JournalEntry) -> None:
        """Note that a script does something new.

        :raises ScriptChangedError: if it had to do something else before that.
        """
        self._require_no_change()
        if not self._is_over:
            self._require_completeness(entry)
        self._is_over = True

    def end(self) -> None:
        """Note that a script has ended.

        :raises ScriptChangedError: if it had to do something else before that, or to do the same,
            and has caught the error.
        """
        self._require_no_change()
        if not self._is_over:
            self._require_completeness(None)

    def _require_no_change(self) -> None:
        if self._change is not None:
            raise self._change

    def _require_completeness(self, entry: JournalEntry | None) -> None:
        """Check that nothing is missing when a new statement comes, or the end."""
        if self._count == len(self._done):
            return
        if self._is_complete_after is None:
            self._refuse_difference(entry.line if entry else 0)
        last = self._done[-1]
        is_there_again = entry is not None and entry.statement == last.statement
        if not is_there_again and not self._is_complete_after(last.line):
            self._refuse(f"what comes after line {last.line}, where it was stopped, is left out")

    def _refuse_difference(self, line: int) -> t.NoReturn:
        where = f"in line {line}" if line else "where it ends"
        self._refuse(f"{where} it differs from statement {self._count + 1}, which is done")

    def _refuse(self, reason: str) -> t.NoReturn:
        self._change = ScriptChangedError(reason)
        raise self._change
