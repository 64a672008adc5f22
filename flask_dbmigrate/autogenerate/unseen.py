"""Models that nobody compares with their database, because env.py leaves out their bind key."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
import typing as t

from alembic.script import ScriptDirectory
import sqlalchemy as sa

from flask_dbmigrate.data import Data
from flask_dbmigrate.databases import Database
from flask_dbmigrate.databases import databases_of
from flask_dbmigrate.databases import is_same_database
from flask_dbmigrate.errors import ConfigurationError
from flask_dbmigrate.runtime.visit import Visit
from flask_dbmigrate.script.directory import shorten
from flask_dbmigrate.script.several import env_py_is_ours
from flask_dbmigrate.script.several import multidb_in_env_py
from flask_dbmigrate.state import MigrateState


@dataclass(frozen=True)
class UnseenModels(Data):
    """The models of bind keys that a migration directory leaves out.

    :param databases: The bind keys.
    :param directory: The migration directory.
    """

    databases: tuple[str, ...]
    directory: str

    def __str__(self) -> str:
        keys = " and ".join(f"'{key}'" for key in self.databases)
        what = "bind key" if len(self.databases) == 1 else "bind keys"
        file = "script.py.mako" if env_py_is_ours(self.directory) else "env.py"
        return (
            f"The models of {what} {keys} are not looked at: "
            f"'{shorten(self.directory)}/{file}' is for the default database only."
        )

    @property
    def hint(self) -> str:
        """What to do about it."""
        files = (
            "script.py.mako" if env_py_is_ours(self.directory) else "env.py' and 'script.py.mako"
        )
        folder = shorten(self.directory)
        return f"Copy '{files}' from a fresh 'flask db init -d fresh' into '{folder}'."


def find_unseen(
    state: MigrateState, directory: ScriptDirectory, visits: t.Sequence[Visit]
) -> UnseenModels | None:
    """Find the bind keys with models that a comparison has left out, though nobody said so.

    Another ``Migrate`` of the application is taken to have them.

    :param visits: The databases that were compared.
    """
    if len(state.app.extensions["dbmigrate"]) > 1 or multidb_in_env_py(directory.dir) is False:
        return None
    unseen = tuple(
        database.key
        for database in _databases(state)
        if database.bind_key is not None
        and database.has_models
        and not any(_has_seen(visit, database) for visit in visits)
    )
    return UnseenModels(unseen, directory.dir) if unseen else None


def _databases(state: MigrateState) -> t.Iterator[Database]:
    with suppress(ConfigurationError):  # a source that only an env.py of its own understands
        yield from databases_of(state.source)


def _has_seen(visit: Visit, database: Database) -> bool:
    """Tell whether a database was compared with its models, under whatever key."""
    if visit.key == database.key:
        return True
    is_same = visit.engine is not None and is_same_database(visit.engine.url, database.engine.url)
    return is_same and _tables(visit.context.opts["target_metadata"]) >= _tables(database.metadata)


def _tables(metadata: t.Any) -> set[str]:
    return {name for known in sa.util.to_list(metadata) for name in known.tables}
