"""``edit``: revision scripts in an editor."""

from __future__ import annotations

from dataclasses import dataclass
import os
import shlex
import shutil
import subprocess
import sys

from alembic.script import Script

from flask_dbmigrate.data import Data
from flask_dbmigrate.errors import ConfigurationError
from flask_dbmigrate.errors import RevisionError
from flask_dbmigrate.script.directory import shorten
from flask_dbmigrate.script.revisions import describe
from flask_dbmigrate.script.revisions import Revision

from .browsing import find_scripts
from .workspace import Directory
from .workspace import open_workspace
from .workspace import XArg


@dataclass(frozen=True)
class EditedRevisions(Data):
    """The revision scripts that were opened in the editor."""

    revisions: tuple[Revision, ...]

    def __str__(self) -> str:
        return "\n".join(shorten(revision.path) for revision in self.revisions)


def edit(
    directory: Directory = None,
    revision: str = "current",
    *,
    x_arg: XArg = None,
    command: str | None = None,
) -> EditedRevisions:
    """Open revision scripts in ``$EDITOR`` or ``$VISUAL``, and wait until it ends.

    :param revision: The revision; ``current`` for those the databases are at.
    :param directory: The migration directory; by default the application's.
    :param x_arg: What ``context.get_x_argument()`` gives to env.py.
    :param command: The command name of the ``Migrate`` object, if there are several.
    :raises ConfigurationError: if there is no editor, or it fails.
    :raises RevisionError: if there is no such revision.
    """
    workspace = open_workspace(directory, x_arg=x_arg, command=command)
    scripts: list[Script] = find_scripts(workspace, [revision])
    if not scripts:
        raise RevisionError(
            f"There is no script to edit: '{revision}' is no revision.",
            hint="Name one; 'flask db history' lists them.",
        )
    editor = _editor()
    for script in scripts:
        problem: str | None = None
        try:
            subprocess.run([*editor, script.path], check=True)
        except OSError as error:
            problem = error.strerror
        except subprocess.CalledProcessError as error:
            problem = f"exit code {error.returncode}"
        if problem:
            raise ConfigurationError(
                f"The editor '{shlex.join(editor)}' failed: {problem}.",
                hint="Set the environment variable 'EDITOR' to one that works.",
            )
    return EditedRevisions(tuple(map(describe, scripts)))


def _editor() -> list[str]:
    named = os.environ.get("EDITOR") or os.environ.get("VISUAL")
    if named:
        return shlex.split(named)
    if sys.stdin.isatty():
        for name in ("sensible-editor", "editor", "nano", "vim", "vi"):
            if path := shutil.which(name):
                return [path]
    raise ConfigurationError(
        "There is no editor: the environment variable 'EDITOR' is not set.",
        hint="Set it, for example 'export EDITOR=nano'.",
    )
