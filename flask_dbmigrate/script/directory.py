"""Opens a migration directory; names what is wrong with the revisions in it."""

from __future__ import annotations

import configparser
from contextlib import contextmanager
import difflib
import os
from pathlib import Path
import sys
import traceback
import typing as t

from alembic.config import Config
from alembic.script import Script
from alembic.script import ScriptDirectory
from alembic.script.revision import CycleDetected
from alembic.script.revision import MultipleHeads
from alembic.script.revision import RangeNotAncestorError
from alembic.script.revision import ResolutionError
from alembic.script.revision import RevisionError as AlembicRevisionError
from alembic.script.revision import RevisionMap
from alembic.util import CommandError

from .. import _alembic
from ..errors import AmbiguousRevisionError
from ..errors import ConfigurationError
from ..errors import DBMigrateError
from ..errors import MigrationDirectoryError
from ..errors import MultipleHeadsError
from ..errors import RevisionError
from ..errors import RevisionNotFoundError
from ..errors import ScriptError


def open_directory(config: Config) -> ScriptDirectory:
    """Open the directory that a ``Config`` names and read all revisions in it.

    :raises ConfigurationError: if its settings cannot be read.
    :raises RevisionError: if a script cannot be loaded, or the scripts do not fit together.
    """
    path = list(sys.path)
    try:
        directory = ScriptDirectory.from_config(config)
    except (configparser.Error, CommandError, ValueError) as error:
        raise ConfigurationError(
            f"The settings in '{config.config_file_name or config.toml_file_name}' "
            f"cannot be used: {' '.join(str(error).split())}",
            hint="Correct the file.",
        ) from error
    finally:  # 'prepend_sys_path' is prepended at every call: keep what is new, once
        added = sys.path[: len(sys.path) - len(path)]
        sys.path[:] = [*(entry for entry in added if entry not in path), *path]
    scripts = _load(directory)
    directory.revision_map = RevisionMap(lambda: scripts)
    with clear_errors(directory):
        directory.get_heads()
    return directory


def _load(directory: ScriptDirectory) -> list[Script]:
    try:
        scripts = list(_alembic.load_scripts(directory))
    except Exception as error:
        raise _unloadable(directory, error) from error
    known = {script.revision for script in scripts}
    for script in scripts:
        for parent in _parents(script):
            if parent not in known:
                raise RevisionError(
                    f"Revision '{script.revision}' in '{shorten(script.path)}' comes after "
                    f"'{parent}', which no script has.",
                    hint=f"Restore the script of '{parent}', or correct 'down_revision'.",
                )
    return scripts


def _parents(script: Script) -> tuple[str, ...]:
    down = script.down_revision
    return (down,) if isinstance(down, str) else tuple(down or ())


def _unloadable(directory: ScriptDirectory, error: Exception) -> DBMigrateError:
    if isinstance(error, (CommandError, AlembicRevisionError)):
        return explain(error, directory)
    path, line = _place(directory, error)
    detail = error.msg if isinstance(error, SyntaxError) else str(error)
    return ScriptError(
        f"The script '{shorten(path)}' cannot be loaded: {type(error).__name__}: {detail}"
        + (f" (line {line})." if line else "."),
        hint="Correct the script.",
        path=path,
        line=line,
    )


def _place(directory: ScriptDirectory, error: Exception) -> tuple[str, int | None]:
    """Tell which script an import error comes from, and from which of its lines."""
    if isinstance(error, SyntaxError) and error.filename:
        return error.filename, error.lineno
    locations = tuple(os.path.realpath(path) for path in _alembic.version_locations(directory))
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename.startswith(locations):
            return frame.filename, frame.lineno
    return directory.dir, None


@contextmanager
def clear_errors(directory: ScriptDirectory) -> t.Iterator[None]:
    """Turn Alembic's errors about revisions into ours."""
    try:
        yield
    except (CommandError, AlembicRevisionError) as error:
        raise explain(error, directory) from error


def explain(error: Exception, directory: ScriptDirectory) -> DBMigrateError:
    """Say in our words what one of Alembic's errors means."""
    cause = error.__cause__ if isinstance(error, CommandError) else error
    if isinstance(cause, MultipleHeads):
        return several_heads(tuple(cause.heads))
    if isinstance(cause, ResolutionError):
        return _not_found(str(cause.argument), directory, str(cause))
    if isinstance(cause, RangeNotAncestorError):
        return RevisionError(
            f"There is no way from '{_name(cause.lower)}' to '{_name(cause.upper)}': "
            "they are not on one branch.",
            hint="Look at the order of revisions with 'flask db history'.",
        )
    if isinstance(cause, CycleDetected):
        names = ", ".join(f"'{revision}'" for revision in sorted(cause.revisions))
        return RevisionError(
            f"These revisions come after one another in a circle: {names}.",
            hint="Correct 'down_revision' or 'depends_on' in one of them.",
        )
    message = str(error).strip()
    if message == "Ambiguous walk":
        return RevisionError(
            "The way to this revision crosses a merge, so a number of steps is ambiguous.",
            hint="Name the revision itself; 'flask db history' lists them.",
        )
    if message.startswith("Relative revision"):
        target = message.split()[2]
        return RevisionError(
            f"'{target}' goes further than there are revisions.",
            hint="Look at 'flask db history --indicate-current'.",
        )
    return RevisionError(message if message.endswith(".") else message + ".")


def several_heads(heads: tuple[str, ...]) -> MultipleHeadsError:
    """Build the error for a directory in which one head was expected."""
    names = ", ".join(f"'{head}'" for head in heads)
    return MultipleHeadsError(
        f"There are {len(heads)} heads: {names}.",
        hint="Join them with 'flask db merge', or say 'heads' or '<branch>@head'.",
        heads=heads,
    )


def _not_found(revision: str, directory: ScriptDirectory, message: str) -> DBMigrateError:
    names = sorted({name for script in _scripts(directory) for name in _names(script)} | _SYMBOLS)
    longer = tuple(name for name in names if name.startswith(revision))
    if "Multiple revisions" in message:
        listed = ", ".join(f"'{name}'" for name in longer)
        return AmbiguousRevisionError(
            f"Several revisions begin with '{revision}': {listed}.",
            hint="Give more characters.",
            revision=revision,
            matches=longer,
        )
    if "not a member of branch" in message:
        return RevisionNotFoundError(message + ".", revision=revision)
    matches = longer or tuple(difflib.get_close_matches(revision, names, n=3))
    listed = ", ".join(f"'{name}'" for name in matches)
    return RevisionNotFoundError(
        f"There is no revision or branch '{revision}'.",
        hint=f"Did you mean {listed}?" if matches else "List them with 'flask db history'.",
        revision=revision,
        matches=matches,
    )


_SYMBOLS = {"head", "heads", "base", "current"}


def _scripts(directory: ScriptDirectory) -> t.Iterable[Script]:
    try:
        return list(directory.walk_revisions())
    except CommandError:  # the revisions themselves are what is wrong
        return []


def _names(script: Script) -> tuple[str, ...]:
    return (script.revision, *(script.branch_labels or ()))


def _name(revisions: t.Any) -> str:
    return ", ".join(revisions) if isinstance(revisions, (tuple, list)) else revisions or "base"


def require_template(directory: ScriptDirectory) -> None:
    """Check that new revisions can be written.

    :raises MigrationDirectoryError: if the revision template is missing.
    """
    if not Path(directory.dir, "script.py.mako").is_file():
        raise MigrationDirectoryError(
            f"'{directory.dir}' has no 'script.py.mako', the template of revisions.",
            hint="Restore it from version control, or copy it from a fresh 'flask db init'.",
        )


def shorten(path: str) -> str:
    """Show a path relative to the working directory where that is shorter."""
    relative = os.path.relpath(path)
    return relative if not relative.startswith("..") else path
