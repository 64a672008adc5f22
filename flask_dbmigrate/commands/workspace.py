"""What every command works on: the state, Alembic's configuration, the revisions on disk."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace
import os
import typing as t

from alembic.config import Config
from alembic.script import ScriptDirectory

from flask_dbmigrate.compat import make_config
from flask_dbmigrate.config import read_settings
from flask_dbmigrate.databases import databases_of
from flask_dbmigrate.errors import ConfigurationError
from flask_dbmigrate.errors import MigrationDirectoryError
from flask_dbmigrate.runtime.result import Listener
from flask_dbmigrate.runtime.result import SILENT
from flask_dbmigrate.runtime.runner import run_environment
from flask_dbmigrate.runtime.runner import run_locked
from flask_dbmigrate.runtime.settings import RunSettings
from flask_dbmigrate.runtime.settings import SETTINGS
from flask_dbmigrate.runtime.settings import settings_of
from flask_dbmigrate.runtime.visit import Plan
from flask_dbmigrate.runtime.visit import Visit
from flask_dbmigrate.script.directory import open_directory
from flask_dbmigrate.state import current_state
from flask_dbmigrate.state import MigrateState
from flask_dbmigrate.state import on_command_line

Directory = str | os.PathLike[str] | None
XArg = str | t.Sequence[str] | None
Keys = str | t.Sequence[str]

NO_SETTINGS = RunSettings(two_phase=False)


@dataclass(frozen=True)
class Workspace:
    """The migration directory of an application, opened."""

    state: MigrateState
    config: Config
    directory: ScriptDirectory

    def run(self, plan: Plan, *, listener: Listener = SILENT, **options: t.Any) -> list[Visit]:
        """Run env.py with a plan; see :func:`run_environment`."""
        return run_environment(
            self.state, self.config, self.directory, plan, listener=listener, **options
        )

    def run_locked(
        self,
        plan: Plan,
        *,
        listener: Listener = SILENT,
        command: str | None = None,
        **options: t.Any,
    ) -> list[Visit]:
        """Change the databases; see :func:`flask_dbmigrate.runtime.runner.run_locked`."""
        return run_locked(
            self.state,
            self.config,
            self.directory,
            plan,
            listener=listener,
            command=command,
            **options,
        )

    def look(
        self,
        plan: Plan = lambda visit: (),
        *,
        listener: Listener = SILENT,
        **context_options: t.Any,
    ) -> list[Visit]:
        """See where the databases stand.

        :param plan: Looks at each; it has no steps.
        """
        settings = settings_of(self.config)
        self.config.attributes[SETTINGS] = replace(settings, two_phase=False)
        try:
            return self.run(plan, listener=listener, dont_mutate=True, **context_options)
        finally:
            self.config.attributes[SETTINGS] = settings

    def current_heads(self) -> frozenset[str]:
        """Read which revisions the databases are at."""
        return frozenset(head for visit in self.look() for head in visit.before)

    def is_set(self, option: str) -> bool:
        """Tell whether an option of Alembic's settings is ``true``."""
        return str(self.config.get_alembic_option(option, "")).lower() in ("true", "yes", "on", "1")


def open_workspace(
    directory: Directory = None,
    *,
    x_arg: XArg = None,
    command: str | None = None,
    settings: RunSettings = NO_SETTINGS,
    opts: tuple[str, ...] = (),
) -> Workspace:
    """Open the migration directory of the current application.

    :param directory: A directory that comes before the application's.
    :param x_arg: What ``-x`` gives to env.py.
    :param command: The command name of the ``Migrate`` object, if there are several.
    :param settings: What the command was told; checked and completed here.
    :param opts: Flags for ``config.cmd_opts``.
    :raises ConfigurationError: if there is no application, no directory, or bad settings.
    :raises RevisionError: if the scripts cannot be loaded or do not fit together.
    """
    state = current_state(command)
    defaults = read_settings(state.app.config)  # a wrong one stops every command
    _require_known(state, settings.databases)
    # Alembic's own messages go to stdout: 'quiet' is its documented way to switch them off
    try:
        config = make_config(state, directory, x_arg, ("quiet", *opts))
    except MigrationDirectoryError as error:
        if directory is not None and _may_be_a_revision(os.fspath(directory)):
            error.hint += (
                " The first argument is the directory, as in Flask-Migrate. Name any other: "
                f"'upgrade(revision=\"{os.fspath(directory)}\")'."
            )
        raise
    config.attributes[SETTINGS] = settings.completed_by(defaults)
    return Workspace(state, config, open_directory(config))


def _may_be_a_revision(directory: str) -> bool:
    """Tell whether a call from Python may mean something else than a directory."""
    return not on_command_line.get() and not {"/", os.sep, ":"} & set(directory)


def _require_known(state: MigrateState, keys: tuple[str, ...]) -> None:
    """Check that the application has these databases."""
    known = [found.key for found in databases_of(state.source)] if keys else []
    for key in keys:
        if key not in known:
            listed = ", ".join(f"'{name}'" for name in known)
            raise ConfigurationError(
                f"The application has no database '{key}'.", hint=f"Use one of these: {listed}."
            )


def split_range(revision: str, *, sql: bool) -> tuple[str | None, str]:
    """Split ``start:end``, which only ``--sql`` takes.

    :raises ConfigurationError: if a range is given without it, or if the end is empty.
    """
    start, colon, end = revision.rpartition(":")
    if colon and not sql:
        raise ConfigurationError(
            f"The range '{revision}' needs '--sql': the database itself says where it stands.",
            hint=f"Give the target only: '{end}'.",
        )
    if not end:
        raise ConfigurationError(
            "The name of the revision is empty.", hint="Name one, or leave it out for the default."
        )
    return (start if colon else None), end
