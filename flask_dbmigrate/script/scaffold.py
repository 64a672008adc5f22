"""Writes new revision scripts: whole, or not at all."""

from __future__ import annotations

from contextlib import contextmanager
from contextlib import redirect_stdout
from dataclasses import dataclass
import errno
from pathlib import Path
import re
import sys
import typing as t

from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError as AlembicRevisionError
from alembic.util import CommandError
from alembic.util import rev_id as new_revision_id

from flask_dbmigrate import _alembic
from flask_dbmigrate.data import Data
from flask_dbmigrate.errors import ConfigurationError
from flask_dbmigrate.errors import DBMigrateError
from flask_dbmigrate.errors import MigrationDirectoryError
from flask_dbmigrate.errors import MigrationError
from flask_dbmigrate.errors import RevisionError
from flask_dbmigrate.state import answering
from flask_dbmigrate.state import MigrateState
from flask_dbmigrate.wording import words_of

from .directory import explain
from .directory import shorten
from .rehearsal import rehearse
from .rehearsal import UnusableError


def require_template(directory: ScriptDirectory) -> None:
    """Check that new revisions can be written.

    :raises MigrationDirectoryError: if the revision template is missing.
    """
    if not Path(directory.dir, "script.py.mako").is_file():
        raise MigrationDirectoryError(
            f"'{directory.dir}' has no 'script.py.mako', the template of revisions.",
            hint="Restore it from version control, or copy it from a fresh 'flask db init'.",
        )


def escape(message: str | None) -> str | None:
    """Escape what would end the docstring of the script early."""
    return message and message.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')


def free_id(directory: ScriptDirectory, given: str | None) -> str:
    """Return the identifier of a new revision.

    :raises RevisionError: if the one that was given is taken, or none.
    """
    if given is None:
        return new_revision_id()
    if given in ("base", "head", "heads", "current") or not re.fullmatch(r"[\w.]+", given):
        raise RevisionError(
            f"'{given}' cannot be the identifier of a revision.",
            hint="Use letters, digits, '_' and '.', but not a word such as 'head' or 'base'.",
        )
    for script in directory.walk_revisions():
        if script.revision == given:
            raise RevisionError(
                f"Revision '{given}' exists already: '{shorten(script.path)}'.",
                hint="Give another '--rev-id', or none.",
            )
    return given


@dataclass(frozen=True)
class FailedHook(Data):
    """A post-write hook whose process has failed; the script is written.

    :param name: What ``[post_write_hooks]`` calls it.
    :param exit_code: That of its process; negative if a signal has ended it.
    """

    name: str
    exit_code: int

    def __str__(self) -> str:
        return f"The post-write hook '{self.name}' failed with exit code {self.exit_code}."


@contextmanager
def all_or_nothing(state: MigrateState, directory: ScriptDirectory) -> t.Iterator[list[FailedHook]]:
    """Write scripts whole, and remove them again if they cannot be loaded.

    :param state: What templates find as ``app.extensions['migrate']``.
    :returns: The hooks that have failed so far.
    """
    failed: list[FailedHook] = []
    try:
        # Alembic announces post-write hooks on stdout, which is for data
        with (
            answering(state),
            redirect_stdout(sys.stderr),
            _alembic.hooks_watched(lambda *facts: failed.append(FailedHook(*facts))),
            _alembic.whole_scripts(directory, rehearse) as written,
        ):
            yield failed
    except (Exception, SystemExit) as error:
        emptied = [path for path in written if directory.hooks and not path.read_bytes().strip()]
        remedy = f"Correct '[post_write_hooks]' in '{shorten(directory.dir)}/alembic.ini'."
        if _alembic.failed_in_hook(error) and not emptied:
            raise ConfigurationError(
                f"The script was written, but a post-write hook failed: {error}.", hint=remedy
            ) from error
        for path in written:
            path.unlink(missing_ok=True)
        if emptied:
            raise ConfigurationError(
                f"A post-write hook has left nothing of '{shorten(str(emptied[0]))}', which was "
                "removed.",
                hint=f"See whether the disk is full. {remedy}",
            ) from error
        raise _not_written(error, directory) from error


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _not_written(error: BaseException, directory: ScriptDirectory) -> DBMigrateError:
    template = f"{shorten(directory.dir)}/script.py.mako"
    if isinstance(error, (CommandError, AlembicRevisionError)):
        return explain(error, directory)
    if isinstance(error, OSError):
        return ConfigurationError(
            f"The script cannot be written to '{error.filename}': {error.strerror}.",
            hint="Make room, and run the command again."
            if error.errno in _NO_ROOM
            else "Make the directory writable, or name another one with '--directory'.",
        )
    if isinstance(error, UnusableError):
        return ConfigurationError(
            f"{error.what} would be written as '{error.expression}', which fails: {error}.",
            hint="Nothing was written. Give the type a '__repr__' that returns the Python code to "
            "make it, or give 'Migrate' a 'render_item' that does. Imports go into "
            "'script.py.mako'.",
        )
    if isinstance(error, SyntaxError):
        return ConfigurationError(
            f"'{template}' makes a script that is no Python: {error.msg} (line {error.lineno}).",
            hint="Correct the template.",
        )
    if what := _alembic.unwritable_operation(error):
        return MigrationError(
            f"{what} cannot be written into a revision: {type(error).__name__}: {words_of(error)}.",
            hint="Write it by hand into an empty revision: 'flask db revision'.",
        )
    return ConfigurationError(
        f"No script can be made from '{template}' and 'file_template': "
        f"{type(error).__name__}: {' '.join(str(error).split())}.",
        hint="Correct the template, or 'file_template' in 'alembic.ini'.",
    )
