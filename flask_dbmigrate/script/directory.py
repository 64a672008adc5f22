"""Opens a migration directory; names what is wrong with the revisions in it."""

from __future__ import annotations

import configparser
from contextlib import contextmanager
import difflib
from functools import partial
import os
from pathlib import Path
import re
import sys
import traceback
from types import ModuleType
import typing as t
from weakref import WeakKeyDictionary

from alembic.config import Config
from alembic.script import Script
from alembic.script import ScriptDirectory
from alembic.script.revision import CycleDetected
from alembic.script.revision import MultipleHeads
from alembic.script.revision import RangeNotAncestorError
from alembic.script.revision import ResolutionError
from alembic.script.revision import RevisionError as AlembicRevisionError
from alembic.util import CommandError

from flask_dbmigrate import _alembic
from flask_dbmigrate.errors import AmbiguousRevisionError
from flask_dbmigrate.errors import ConfigurationError
from flask_dbmigrate.errors import DBMigrateError
from flask_dbmigrate.errors import MigrationDirectoryError
from flask_dbmigrate.errors import MultipleHeadsError
from flask_dbmigrate.errors import RevisionError
from flask_dbmigrate.errors import RevisionNotFoundError
from flask_dbmigrate.errors import ScriptError
from flask_dbmigrate.wording import words_of

from .checksum import digest
from .identifiers import as_tuple
from .index import Index
from .index import keep_heads
from .index import known_heads
from .reader import find_scripts
from .reader import read_scripts
from .reader import UnreadableScriptError

_checksums: WeakKeyDictionary[ScriptDirectory, dict[str, str]] = WeakKeyDictionary()


def checksums_of(directory: ScriptDirectory) -> t.Mapping[str, str]:
    """Tell the digest of each revision's script, as its file was when it was read."""
    return _checksums[directory]


def open_directory(config: Config) -> ScriptDirectory:
    """Open the directory that a ``Config`` names and read all revisions in it.

    :raises ConfigurationError: if its settings cannot be read.
    :raises RevisionError: if a script cannot be loaded, or the scripts do not fit together.
    """
    path = list(sys.path)
    try:
        directory = ScriptDirectory.from_config(config)
        _alembic.version_locations(directory)  # finds the packages that the setting names
    except (configparser.Error, CommandError, ImportError, ValueError) as error:
        raise ConfigurationError(
            f"The settings in '{config.config_file_name or config.toml_file_name}' "
            f"cannot be used: {' '.join(str(error).split())}",
            hint="Correct the file.",
        ) from error
    finally:  # 'prepend_sys_path' is prepended at every call: keep what is new, once
        added = sys.path[: len(sys.path) - len(path)]
        sys.path[:] = [*(entry for entry in added if entry not in path), *path]
    with _loading(directory):
        folders = find_scripts(directory)
        heads = known_heads(folders)
    _keep_checksums(directory, folders)
    load = partial(_load, directory, folders)
    directory.revision_map = _alembic.revision_map(load, heads=heads)
    if heads is None:
        with clear_errors(directory):
            keep_heads(folders, directory.get_heads())
    return directory


def _load(directory: ScriptDirectory, folders: list[Index]) -> t.Sequence[Script]:
    """Read the scripts; one that is imported later is explained as well if that fails."""

    def load(path: str) -> ModuleType:
        with _loading(directory, path):
            return _alembic.import_script(path)

    with _loading(directory):
        scripts = read_scripts(directory, folders, load)
    _require_whole(scripts)
    _keep_checksums(directory, folders, scripts)
    return scripts


def _keep_checksums(
    directory: ScriptDirectory, folders: list[Index], scripts: t.Iterable[Script] = ()
) -> None:
    """Keep the digests of scripts, also of those that had to be imported."""
    known = {revision: it for folder in folders for revision, it in folder.checksums.items()}
    for script in scripts:
        if script.revision not in known:
            known[script.revision] = digest(Path(script.path).read_bytes())
    _checksums[directory] = known


@contextmanager
def _loading(directory: ScriptDirectory, path: str = "") -> t.Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except UnreadableScriptError as error:
        cause = error.__cause__ or error
        raise _unloadable(directory, cause, str(error)) from cause
    except BaseException as error:
        raise _unloadable(directory, error, path) from error


_RESERVED = ("base", "head", "heads")


def _require_whole(scripts: t.Sequence[Script]) -> None:
    """Check that every revision exists that another one names, and exists once."""
    paths: dict[str, str] = {}
    for script in scripts:
        if not isinstance(script.revision, str) or not script.revision.strip():
            raise _nameless(script.path)
        if script.revision in _RESERVED or "'" in script.revision:
            raise ScriptError(
                f"The revision in '{shorten(script.path)}' cannot be called {script.revision!r}.",
                hint="Give it another name, and correct the scripts that come after it.",
                path=script.path,
            )
        if script.revision in paths:
            raise RevisionError(
                f"Revision '{script.revision}' has two scripts: "
                f"'{shorten(paths[script.revision])}' and '{shorten(script.path)}'.",
                hint="Remove one of them, or give it a 'revision' of its own.",
            )
        paths[script.revision] = script.path
    labels = {label for script in scripts for label in script.branch_labels or ()}
    names_and_labels = paths.keys() | labels
    for script in scripts:
        for verb, setting, names, known in (
            ("comes after", "down_revision", script.down_revision, paths.keys()),
            ("depends on", "depends_on", script.dependencies, names_and_labels),
        ):
            for name in as_tuple(names):
                if name not in known:
                    raise RevisionError(
                        f"Revision '{script.revision}' in '{shorten(script.path)}' {verb} "
                        f"'{name}', which no script has.",
                        hint=f"Restore the script of '{name}', or correct '{setting}'.",
                    )


def _unloadable(directory: ScriptDirectory, error: BaseException, path: str = "") -> DBMigrateError:
    """Say why a script cannot be loaded.

    :param path: The script, if it is known.
    """
    if isinstance(error, _alembic.NoIdentifierError):
        return _nameless(str(error))
    is_from_alembic = isinstance(error, (CommandError, AlembicRevisionError))
    if is_from_alembic and not path:
        return explain(t.cast(Exception, error), directory)
    found, line = _place(directory, error)
    path = found or path or directory.dir
    detail = error.msg if isinstance(error, SyntaxError) else words_of(error)
    said = detail if is_from_alembic else ": ".join(filter(None, (type(error).__name__, detail)))
    return ScriptError(
        f"The script '{shorten(path)}' cannot be loaded: {said}"
        + (f" (line {line})." if line else "."),
        hint="Correct the script.",
        path=path,
        line=line,
    )


def _nameless(path: str) -> ScriptError:
    if not Path(path).read_bytes().strip():
        return ScriptError(
            f"The script '{shorten(path)}' is empty.",
            hint="Delete it, or restore it from version control.",
            path=path,
        )
    return ScriptError(
        f"The script '{shorten(path)}' has no 'revision', or one that is empty or no string.",
        hint="Set it, or move the file out of the folder of revisions.",
        path=path,
    )


def _place(directory: ScriptDirectory, error: BaseException) -> tuple[str, int | None]:
    """Tell which script an import error comes from, if that is known, and from which line."""
    if isinstance(error, SyntaxError) and error.filename:
        return error.filename, error.lineno
    if isinstance(error, OSError) and error.filename:
        return str(error.filename), None
    if isinstance(error, AttributeError) and isinstance(error.obj, ModuleType):
        return str(error.obj.__file__), None  # a script without 'down_revision'
    locations = tuple(os.path.realpath(path) for path in _alembic.version_locations(directory))
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename.startswith(locations):
            return frame.filename, frame.lineno
    return "", None


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
    if isinstance(cause, RangeNotAncestorError) and cause.lower == "Nothing to drop":
        place = f"'{_name(cause.upper)}'" if cause.upper else "base"
        return RevisionError(
            f"There is nothing to take back: {place} is not above the target.",
            hint="See where the databases stand with 'flask db current'.",
        )
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
            "The way there crosses a branch or a merge, so a number of steps is ambiguous.",
            hint="Name the revision itself; 'flask db history' lists them.",
        )
    if message.startswith("Relative revision"):
        target = message.split()[2]
        return RevisionError(
            f"'{target}' goes further than there are revisions.",
            hint="Look at 'flask db history --indicate-current'.",
        )
    if match := re.match(r"Could not determine revision id from filename (.+?)\. ", message):
        return ScriptError(
            f"The script '{match[1]}' has no 'revision'.",
            hint="Set it, or move the file out of the folder of revisions.",
            path=match[1],
        )
    hint = "Name one of 'version_locations'." if "version locations" in message else ""
    return RevisionError(message.rstrip(".") + ".", hint=hint)


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


def unknown_heads(directory: ScriptDirectory, heads: tuple[str, ...]) -> list[str]:
    """List the revisions in a version table that no script has."""
    unknown = []
    for head in [head for head in heads if head not in directory.get_heads()]:
        try:
            directory.get_revision(head)
        except CommandError:
            unknown.append(head)
    return unknown


def require_complete(directory: ScriptDirectory) -> None:
    """Check that env.py runs migrations at all.

    :raises MigrationDirectoryError: if it does not even mention them.
    """
    if "run_migrations" not in _env_py(directory):
        raise MigrationDirectoryError(
            f"'{shorten(directory.env_py_location)}' runs no migrations.",
            hint="Restore it from version control, or copy it from a fresh 'flask db init'.",
        )


def runs_event_loop(directory: ScriptDirectory) -> bool:
    """Tell whether env.py has an event loop of its own, as Alembic's 'async' template has."""
    source = _env_py(directory)
    return "asyncio.run(" in source or "run_until_complete(" in source


def _env_py(directory: ScriptDirectory) -> str:
    return Path(directory.env_py_location).read_text("utf-8", "replace")


def shorten(path: str) -> str:
    """Show a path relative to the working directory where that is shorter."""
    relative = os.path.relpath(path)
    return relative if not relative.startswith("..") else path
