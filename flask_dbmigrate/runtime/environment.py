"""The seam: Alembic's environment in which every env.py runs, ours or an old one."""

from __future__ import annotations

from pathlib import Path
import typing as t

from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
import sqlalchemy as sa

from flask_dbmigrate import _alembic
from flask_dbmigrate.databases import as_engine
from flask_dbmigrate.databases import Database
from flask_dbmigrate.databases import key_of

from .offline import require_values
from .offline import SqlOutput
from .preparation import Preparation
from .preparation import prepare
from .recorder import Recorder
from .selection import Selection
from .settings import settings_of
from .two_phase import require_two_phase
from .version_table import create_schema_with_version_table


class RunEnvironment(EnvironmentContext):
    """Alembic's environment, with the options of ``Migrate`` in it and an eye on each step.

    :param options: Options of ``configure()`` for what env.py does not say, online or offline.
    :param databases: Those of the application, for an env.py that does not find their models.
    """

    def __init__(
        self,
        config: t.Any,
        script: ScriptDirectory,
        *,
        recorder: Recorder,
        options: t.Mapping[str, t.Any],
        databases: t.Iterable[Database],
        **context_options: t.Any,
    ) -> None:
        super().__init__(config, script, fn=recorder.steps, **context_options)
        self.recorder = recorder
        self.options = options
        self.settings = settings_of(config)
        self.selection = Selection(self.settings)
        self.sql = SqlOutput(self.settings.output)
        self._unused_files: list[Path] = []
        self.models = {database.bind_key: database.metadata for database in databases}

    def configure(  # type: ignore[override]
        self, connection: sa.Connection | None = None, url: t.Any = None, **options: t.Any
    ) -> None:
        """Configure Alembic as env.py says, and where it says nothing, as ``Migrate`` does."""
        options = {**self.options, **options}
        if connection is not None and self._is_own:
            # the engine's cache would keep each table that a run describes anew
            connection.execution_options(compiled_cache=self.recorder.compiled)
        self._preparation = self._prepare(connection, options)
        options.update(self._preparation.options)
        callbacks = sa.util.to_list(options.pop("on_version_apply", None)) or []
        heading = self._sql_heading(options)
        if self.is_offline_mode():
            options.setdefault("dialect_opts", {"paramstyle": "named"})  # others double each '%'
            options["literal_binds"] = True  # there are no parameters to send beside the SQL
            if options.get("output_buffer") is None:
                options["output_buffer"] = self.sql.begin()
        super().configure(
            connection=connection,
            url=url,
            on_version_apply=[*callbacks, self.recorder.applied],  # type: ignore[arg-type]
            **options,
        )
        if self.is_offline_mode() and connection is None:
            require_values(self.get_context())
        if heading:
            self.static_output(heading)

    @property
    def _is_own(self) -> bool:
        """Whether connections are env.py's own."""
        handed_in = self.config.attributes.get("connection")
        return handed_in is None or as_engine(handed_in) is not None

    def _prepare(
        self, connection: sa.Connection | None, options: t.Mapping[str, t.Any]
    ) -> Preparation:
        """Choose how to prepare a connection: env.py's own, if the run may write."""
        may_write = not self.is_offline_mode() and not self.context_opts.get("dont_mutate")
        if connection is not None and self._is_own and may_write:
            return prepare(connection, options, self.settings, self.recorder.try_again)
        return Preparation()

    def _sql_heading(self, options: dict[str, t.Any]) -> str | None:
        """Send the SQL of a database to stdout where an old env.py wants it in ``<bind>.sql``.

        Flask-Migrate's template for bind keys does; the default database's file is ``.sql``.
        """
        name = getattr(options.get("output_buffer"), "name", None)
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".sql"):
            return None
        del options["output_buffer"]
        self._unused_files.append(Path(name).absolute())
        return f"-- Database '{key_of(name.removesuffix('.sql'))}'"

    def write_sql(self) -> None:
        """Write the SQL of a run that has succeeded; online there is none."""
        files = self.sql.write()
        for visit in self.recorder.visits:
            visit.file = files.get(visit.key)
        for path in self._unused_files:
            if path.stat().st_size == 0:
                path.unlink()

    def run_migrations(self, **kw: t.Any) -> None:
        """Run what is planned for the database that env.py has just configured."""
        context, bind_key = self.get_context(), kw.get("engine_name")
        if not self.settings.is_chosen(key_of(bind_key)):
            return
        metadata = self.models.get(bind_key) if bind_key else None
        given = context.opts["target_metadata"]
        if metadata is not None and isinstance(given, sa.MetaData) and not given.tables:
            # old env.py files look for the tables of a bind in the default metadata
            context.opts["target_metadata"] = metadata
        if bind_key is not None and not self._is_for(context, bind_key):
            return
        create_schema_with_version_table(context)
        self.sql.keep(key_of(bind_key))
        _alembic.pass_over_empty_rows(context)
        visit = self.recorder.begin(context, kw, self._preparation)
        visit.preparation.start()
        with (
            visit.statements.listening(),
            visit.journal_writer.listening(),
            visit.bypasses.listening(),
            visit.preparation.listening(),
        ):
            super().run_migrations(**kw)
        visit.is_done = True
        visit.preparation.finish()

    def _is_for(self, context: MigrationContext, bind_key: str) -> bool:
        """Tell whether to run on one of several databases, and let the listener know if not.

        :raises ConfigurationError: if it is not to be run on like this.
        """
        key, connection = key_of(bind_key), context.connection
        is_two_phase = self.settings.two_phase and len(self.settings.databases) != 1
        if is_two_phase and connection is not None:
            require_two_phase(key, connection)
        reason = self.selection.reason_to_skip(bind_key, context)
        if reason is not None:
            self.recorder.skip(key, reason)
        return reason is None


_alembic.register_environment(RunEnvironment)
