"""What can be prepared on any DBMS, and the answers where nothing is."""

from __future__ import annotations

import typing as t

from alembic.runtime.migration import MigrationContext
from alembic.script import Script


class RefusedError(Exception):
    """A commit that is refused; the text is a clause without a full stop."""


class Preparation:
    """Follows a run on one connection; this one does nothing."""

    options: t.Mapping[str, t.Any] = {}
    """Options of Alembic's ``configure()`` that it needs."""

    def start(self) -> None:
        """Prepare the connection, on which env.py may have begun a transaction."""

    def before_step(self, script: Script | None, context: MigrationContext) -> None:
        """Get ready for a step.

        :param script: Its script; None for a stamp.
        """

    def finish(self) -> None:
        """Commit what Alembic has left open after the last step."""

    def hint(self, error: BaseException) -> str:
        """Tell what helps with an error that comes from the preparation; empty if none does."""
        return ""
