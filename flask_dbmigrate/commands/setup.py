"""``init`` and ``list-templates``: how a migration directory is made."""

from __future__ import annotations

import argparse
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
import os
from pathlib import Path
import shutil

from alembic import command as alembic_command
from alembic.util import CommandError

from flask_dbmigrate.compat import Config
from flask_dbmigrate.data import Data
from flask_dbmigrate.errors import ConfigurationError
from flask_dbmigrate.errors import MigrationDirectoryError
from flask_dbmigrate.script.directory import shorten
from flask_dbmigrate.script.location import new_directory
from flask_dbmigrate.state import current_state

from .workspace import Directory


@dataclass(frozen=True)
class Template(Data):
    """A template for ``init``.

    :param name: What ``--template`` calls it.
    :param summary: The first line of its README.
    """

    name: str
    summary: str


@dataclass(frozen=True)
class Templates(Data):
    """The templates that ship with the package."""

    templates: tuple[Template, ...]

    def __str__(self) -> str:
        lines = (f"{template.name} - {template.summary}" for template in self.templates)
        return "Available templates:\n\n" + "\n".join(lines)


def list_templates() -> Templates:
    """List the templates for :func:`init`."""
    folders = sorted(Path(Config().get_template_directory()).iterdir())
    return Templates(
        tuple(
            Template(folder.name, (folder / "README").read_text("utf-8").splitlines()[0].strip())
            for folder in folders
            if (folder / "README").is_file()
        )
    )


@dataclass(frozen=True)
class NewDirectory(Data):
    """A migration directory that was written.

    :param path: The directory.
    :param files: The files in it.
    """

    path: str
    files: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(map(shorten, self.files))


def init(
    directory: Directory = None,
    multidb: bool = False,
    template: str | os.PathLike[str] | None = None,
    package: bool = False,
    *,
    command: str | None = None,
) -> NewDirectory:
    """Write a new migration directory.

    :param directory: Where, relative to the working directory or as ``package:folder``; by default
        the application's, else the ``script_location`` of ``[tool.alembic]``, else ``migrations``.
    :param multidb: Write one for the databases of all bind keys.
    :param template: The name of a template, or the path of one: a name with a slash in it.
    :param package: Write an ``__init__.py`` into it and into ``versions``.
    :param command: The command name of the ``Migrate`` object, if there are several.
    :raises MigrationDirectoryError: if there is something already, or it cannot be written, or
        its package cannot be found.
    :raises ConfigurationError: if there is no such template.
    """
    state = current_state(command)
    path = new_directory(state, None if directory is None else os.fspath(directory))
    folder, name = _template(template, "flask-multidb" if multidb else "flask")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise MigrationDirectoryError(
            f"'{path}' exists already and is not empty.",
            hint="Name another one with '--directory'.",
        )
    config = Config(path / "alembic.ini", template_directory=folder)
    config.cmd_opts = argparse.Namespace(x=[])
    config.set_main_option("script_location", str(path).replace("%", "%%"))
    existed = path.exists()
    try:
        state.migrate.call_configure_callbacks(config)
        with redirect_stdout(StringIO()):  # only the command line speaks
            alembic_command.init(config, str(path), template=name, package=package)
    except (OSError, CommandError) as error:
        if not isinstance(error, FileExistsError):  # then somebody else is writing it right now
            _remove(path, keep_folder=existed)
        detail = error.strerror if isinstance(error, OSError) else str(error)
        raise MigrationDirectoryError(
            f"'{path}' cannot be written: {detail}.",
            hint="Name a directory that is writable with '--directory'.",
        ) from error
    files = sorted(str(file) for file in path.rglob("*") if file.is_file())
    return NewDirectory(str(path), tuple(files))


_TEMPLATE_FILES = ("alembic.ini.mako", "env.py", "script.py.mako")


def _template(template: str | os.PathLike[str] | None, default: str) -> tuple[str | None, str]:
    """Split a template into the folder it is in, None for ours, and its name."""
    folder, name = os.path.split(os.fspath(template or default).rstrip("/\\"))
    path = Path(folder or Config().get_template_directory(), name)
    if not all((path / file).is_file() for file in _TEMPLATE_FILES):
        known = ", ".join(f"'{known.name}'" for known in list_templates().templates)
        raise ConfigurationError(
            f"There is no template '{template}'.",
            hint=f"Use one of these: {known}; or the path of a folder, with a slash in it.",
        )
    return folder or None, name


def _remove(path: Path, *, keep_folder: bool) -> None:
    """Remove what an init that failed has written into a directory that was empty."""
    shutil.rmtree(path, ignore_errors=True)
    if keep_folder:
        path.mkdir(exist_ok=True)
