"""Describes the statements of a step as the journal keeps them."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from datetime import UTC
import hashlib
import sys
import typing as t

from alembic.runtime.migration import MigrationInfo
from alembic.script import Script
import sqlalchemy as sa

from flask_dbmigrate.databases import without_secrets
from flask_dbmigrate.dialects import in_one_line

from .journal import JournalEntry
from .journal import State
from .log import direction_of
from .origin import Origin

_KEPT = 16_000
"""How many characters of a statement are kept: what fits into a TEXT of MySQL, 64 KiB."""


class StatementDescriber:
    """Describes the statements of one step.

    :param connection: The one they are executed on.
    :param session: The number of the database's session; 0 if it is not known.
    """

    def __init__(
        self, step: MigrationInfo, script: Script, connection: sa.Connection, session: int
    ) -> None:
        self.text = ""  # of the last operation
        self._connection = connection
        self._globals = vars(script.module)
        self._template = JournalEntry(
            number=0,
            revision=script.revision,
            direction=direction_of(step),
            statement="",
            line=0,
            digest="",
            state=State.DONE,
            fingerprint="",
            obstacle="",
            noted=datetime.now(UTC),
            session=session,
            **dataclasses.asdict(Origin.here()),
        )

    def of_operation(self, construct: t.Any, values: t.Any) -> JournalEntry:
        """Describe a statement that an operation emits.

        :param construct: A construct of SQLAlchemy, or a string.
        :param values: Its parameters.
        """
        parameters = None
        if isinstance(construct, sa.ClauseElement):
            construct = construct.compile(dialect=self._connection.dialect)
            parameters = construct.params
        self.text = text = str(construct)
        digest = hashlib.sha256(repr((in_one_line(text), parameters, values)).encode())
        return self.of_text(text, digest=digest.hexdigest()[:32])

    def of_text(self, text: str, *, digest: str = "") -> JournalEntry:
        """Describe a statement as the database gets it."""
        shown = without_secrets(in_one_line(text), self._connection.engine.url)
        return dataclasses.replace(
            self._template,
            statement=shown[:_KEPT],
            line=self._line(),
            digest=digest,
        )

    def _line(self) -> int:
        """Find out which line of the script is running; 0 if none is."""
        frame = sys._getframe()
        while frame is not None:
            if frame.f_globals is self._globals:
                return frame.f_lineno
            frame = frame.f_back  # type: ignore[assignment]
        return 0
