"""Decides whether to run on a database that env.py has opened."""

from __future__ import annotations

from alembic.runtime.migration import MigrationContext
import sqlalchemy as sa

from flask_dbmigrate.databases import key_of
from flask_dbmigrate.dialects import facts_of
from flask_dbmigrate.errors import ConfigurationError

from .settings import RunSettings


class Selection:
    """Which of several databases a run is for.

    :param settings: What the command said.
    """

    def __init__(self, settings: RunSettings) -> None:
        self.settings = settings
        self._keys_by_place: dict[tuple[str | None, ...], str] = {}

    def reason_to_skip(self, bind_key: str, context: MigrationContext) -> str | None:
        """Say why nothing is to be done with a database; None if something is.

        One without models is somebody else's, unless there is a version table in it: comparing
        it with the models would propose to drop all that is there.

        :param bind_key: An empty string for the default database.
        :param context: Alembic's context, configured for it.
        :raises ConfigurationError: if it is the same database as an earlier one.
        """
        key = key_of(bind_key)
        same = self._earlier_key_of_same(key, context)
        is_ours = not bind_key or key in self.settings.databases or _has_models(context)
        if not is_ours and (same is not None or not _has_version_table(context)):
            return "has no models"
        if same is not None:
            raise ConfigurationError(
                f"'{same}' and '{key}' are the same database, with the same version table.",
                hint="Give each bind key a database of its own, or move the models of "
                f"'{key}' to '{same}'.",
            )
        return None

    def _earlier_key_of_same(self, key: str, context: MigrationContext) -> str | None:
        if context.as_sql or context.connection is None:
            return None
        identity = facts_of(context.dialect.name).identity(context.connection)
        if identity is None:
            return None
        place = (identity, context.version_table_schema, context.version_table)
        earlier = self._keys_by_place.setdefault(place, key)
        return None if earlier == key else earlier


def _has_models(context: MigrationContext) -> bool:
    """Tell whether there are models, as far as env.py says."""
    given = context.opts["target_metadata"]
    return given is None or any(metadata.tables for metadata in sa.util.to_list(given))


def _has_version_table(context: MigrationContext) -> bool:
    """Tell whether a database was migrated before; offline nobody can look."""
    if context.as_sql or context.connection is None:
        return False
    facts = facts_of(context.dialect.name)
    return facts.has_table(context.connection, context.version_table, context.version_table_schema)
