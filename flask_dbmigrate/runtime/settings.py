"""What a command tells env.py, through Alembic's ``Config.attributes``."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import fields
from dataclasses import replace
import os
import typing as t

from alembic.config import Config

from flask_dbmigrate.config import Kind
from flask_dbmigrate.config import KINDS
from flask_dbmigrate.config import Settings
from flask_dbmigrate.errors import ConfigurationError
from flask_dbmigrate.script.identifiers import as_tuple

SETTINGS = "flask_dbmigrate.settings"
"""The key of ``Config.attributes`` under which env.py finds its :class:`RunSettings`."""


class RunOptions(t.TypedDict, total=False):
    """The options that all commands have which change databases."""

    database: str | t.Sequence[str]
    """The key of the database to run on, or several keys; by default all of them."""

    two_phase: bool | None
    """Let all databases commit or none, which PostgreSQL can (``DBMIGRATE_TWO_PHASE``)."""

    output: str | os.PathLike[str] | None
    """With ``sql``: the folder to write ``<key>.sql`` to; by default the SQL goes to stdout."""

    lock: bool | None
    """Wait until no other run is at work on a database (``DBMIGRATE_LOCK``)."""

    lock_timeout: float | None
    """How long to wait for that, in seconds (``DBMIGRATE_LOCK_TIMEOUT``)."""

    wait: float | None
    """How long to wait for a database that is starting, in seconds (``DBMIGRATE_WAIT``)."""

    single_transaction: bool | None
    """Run all revisions of a database in one transaction (``DBMIGRATE_SINGLE_TRANSACTION``)."""

    ddl_lock_timeout: float | None
    """How long DDL waits for a lock, in seconds (``DBMIGRATE_DDL_LOCK_TIMEOUT``)."""

    ddl_retries: int | None
    """How often it is tried again then (``DBMIGRATE_DDL_RETRIES``)."""

    resume: bool | None
    """Go on with a half-applied revision where that is safe (``DBMIGRATE_RESUME``)."""

    statement_timeout: float | None
    """How long a statement may run, in seconds (``DBMIGRATE_STATEMENT_TIMEOUT``)."""


def _are_keys(value: object) -> bool:
    keys = (value,) if isinstance(value, str) or not isinstance(value, t.Iterable) else value
    return all(isinstance(key, str) for key in keys)


_KINDS = {
    **KINDS,
    "database": Kind("the key of a database, or several", _are_keys),
    "output": Kind("the path of a folder", lambda value: isinstance(value, str | os.PathLike)),
}
"""What the options may be, apart from None."""


@dataclass(frozen=True)
class RunSettings:
    """How a command is to run; None is for what the application's settings say.

    The attributes are those of :class:`RunOptions`; no ``databases`` means all.
    """

    databases: tuple[str, ...] = ()
    two_phase: bool | None = None
    output: str | None = None
    lock: bool | None = None
    lock_timeout: float | None = None
    wait: float | None = None
    single_transaction: bool | None = None
    ddl_lock_timeout: float | None = None
    ddl_retries: int | None = None
    statement_timeout: float | None = None
    resume: bool | None = None

    @classmethod
    def of(cls, options: RunOptions, *, sql: bool) -> RunSettings:
        """Take over the options of a command.

        :param sql: Whether it writes SQL instead of changing databases.
        :raises ConfigurationError: if an option is for ``sql`` only, or a value does not fit.
        """
        for name, value in options.items():
            if value is not None and name in _KINDS:
                _KINDS[name].require(name, value, hint="Correct the call.")
        output = options.get("output")
        if output is not None and not sql:
            raise ConfigurationError(
                "'--output' is the folder for the files of '--sql', which is missing.",
                hint="Add '--sql', or leave '--output' out.",
            )
        given: dict[str, t.Any] = {**options}
        given["databases"] = as_tuple(given.pop("database", None))
        given["output"] = None if output is None else os.fspath(output)
        if sql:
            given["two_phase"] = False
        return cls(**given)

    def completed_by(self, settings: Settings) -> RunSettings:
        """Take what the command was not told from the application's settings."""
        missing = {
            field.name: getattr(settings, field.name)
            for field in fields(self)
            if getattr(self, field.name) is None and hasattr(settings, field.name)
        }
        return replace(self, **missing)

    def is_chosen(self, key: str) -> bool:
        """Tell whether to run on a database."""
        return not self.databases or key in self.databases

    def require_visited(self, keys: t.Iterable[str]) -> None:
        """Check that env.py visits all databases that were chosen.

        :param keys: Those it visits.
        :raises ConfigurationError: if one is missing.
        """
        missing = sorted(set(self.databases) - set(keys))
        if missing:
            raise ConfigurationError(
                f"The migration directory does not run on database '{missing[0]}': its 'env.py' "
                "is for the default database only.",
                hint="Copy 'env.py' and 'script.py.mako' from a fresh 'flask db init -d fresh'.",
            )


def settings_of(config: Config) -> RunSettings:
    """Find what the command said; under the plain ``alembic`` command it said nothing."""
    return t.cast(RunSettings, config.attributes.get(SETTINGS, RunSettings()))
