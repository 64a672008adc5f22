"""What a command tells env.py, through Alembic's ``Config.attributes``."""

from __future__ import annotations

from dataclasses import dataclass
import typing as t

from alembic.config import Config

from flask_dbmigrate.errors import ConfigurationError

SETTINGS = "flask_dbmigrate.settings"
"""The key of ``Config.attributes`` under which env.py finds its :class:`RunSettings`."""


@dataclass(frozen=True)
class RunSettings:
    """How a command is to run.

    :param databases: The keys of the databases to run on; none for all.
    :param two_phase: Whether the databases commit in two phases, so that all do or none; None for
        what the application's settings say.
    :param output: The folder for SQL files; None for stdout.
    """

    databases: tuple[str, ...] = ()
    two_phase: bool | None = None
    output: str | None = None

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
                hint="Copy 'env.py' and 'script.py.mako' from a fresh 'flask db init --multidb'.",
            )


def settings_of(config: Config) -> RunSettings:
    """Find what the command said; under the plain ``alembic`` command it said nothing."""
    return t.cast(RunSettings, config.attributes.get(SETTINGS, RunSettings()))
