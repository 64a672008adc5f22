"""Reads what identifies revisions from their files; a file is imported when its revision runs.

To import 5000 scripts takes seconds, and most commands need no more than their identifiers.
"""

from __future__ import annotations

from collections import defaultdict
from collections import deque
from contextlib import suppress
from functools import cached_property
from operator import attrgetter
import os
from pathlib import Path
import re
from types import ModuleType
import typing as t
import warnings

from alembic.script import Script
from alembic.script import ScriptDirectory

from flask_dbmigrate import _alembic

from .identifiers import as_tuple
from .identifiers import Identifiers
from .identifiers import read_identifiers
from .index import Index


class LazyScript(Script):
    """A script that is imported when somebody asks for its module.

    :param identifiers: What its file says.
    :param path: The file.
    :param load: Imports it.
    """

    def __init__(
        self, identifiers: Identifiers, path: str, load: t.Callable[[str], ModuleType]
    ) -> None:
        super().__init__(t.cast(ModuleType, identifiers), identifiers.revision, path)
        del self.__dict__["module"]
        self._load = load

    @cached_property
    def module(self) -> ModuleType:  # type: ignore[override]
        """The script itself."""
        return self._load(self.path)

    @cached_property
    def longdoc(self) -> str:
        """The docstring."""
        found = read_identifiers(Path(self.path).read_bytes())
        return (found.doc if found and found.doc else "").strip()


def find_scripts(directory: ScriptDirectory) -> list[Index]:
    """Find the folders of a directory's scripts, in Alembic's order, without reading a script."""
    if directory.sourceless:
        return []
    is_recursive = directory.recursive_version_locations
    return [
        index
        for location in _alembic.version_locations(directory)
        for index in _folders(os.path.realpath(location), is_recursive=is_recursive)
    ]


_SCRIPT = re.compile(r"(?!\.#|__init__).*\.py")


def _folders(folder: str, *, is_recursive: bool) -> t.Iterator[Index]:
    with suppress(FileNotFoundError), os.scandir(folder) as found:
        entries = sorted(found, key=attrgetter("name"))
        named = (entry for entry in entries if _SCRIPT.fullmatch(entry.name))
        yield Index(folder, [entry for entry in named if not entry.is_dir()])
        for entry in entries if is_recursive else ():
            if entry.is_dir(follow_symlinks=False) and entry.name != "__pycache__":
                yield from _folders(entry.path, is_recursive=True)


class UnreadableScriptError(Exception):
    """A script that makes no revision; the text is its path, and the cause says why."""


def read_scripts(
    directory: ScriptDirectory, folders: list[Index], load: t.Callable[[str], ModuleType]
) -> t.Sequence[Script]:
    """Read the scripts of a directory, those that come first before the others.

    :param load: Imports a script.
    """
    if directory.sourceless:
        return list(_alembic.load_scripts(directory))
    scripts: list[Script] = []
    for path, identifiers in _read(folders):
        try:
            script = _script(directory, path, identifiers, load)
            if script is not None:
                _require_names(script)
                scripts.append(script)
        except _alembic.NoIdentifierError:
            raise
        except Exception as error:
            raise UnreadableScriptError(path) from error
    return _parents_first(scripts)


def _script(
    directory: ScriptDirectory,
    path: str,
    identifiers: Identifiers | None,
    load: t.Callable[[str], ModuleType],
) -> Script | None:
    if identifiers is not None:
        return LazyScript(identifiers, path, load)
    if not Path(path).read_bytes().strip():
        raise _alembic.NoIdentifierError(path)
    return _alembic.load_script(directory, path)


def _require_names(script: Script) -> None:
    for setting, value in (
        ("down_revision", script.down_revision),
        ("depends_on", script.dependencies),
        ("branch_labels", script.branch_labels),
    ):
        names = value if isinstance(value, (tuple, list, set)) else (value or "",)
        if not all(isinstance(name, str) for name in names):
            raise TypeError(f"'{setting}' is neither a string nor a list of strings")


def _read(folders: list[Index]) -> t.Iterator[tuple[str, Identifiers | None]]:
    """Read the files that Alembic takes for scripts, in its order."""
    seen = set()
    for index in folders:
        for entry in index.entries:
            path = os.path.realpath(entry) if entry.is_symlink() else entry.path
            if path in seen:
                warnings.warn(f"'{path}' is in several 'version_locations'.", stacklevel=2)
            else:
                seen.add(path)
                yield path, index.read(entry)


def _parents_first(scripts: list[Script]) -> list[Script]:
    """Order scripts so that Alembic need not search for them, and heads as Alembic does.

    It takes each script that another one comes after out of a list: the search for it is quadratic
    unless it is near the front.
    """
    children: dict[str, list[Script]] = defaultdict(list)
    missing = {}
    for script in scripts:
        parents = as_tuple(script.down_revision)
        missing[script] = len(parents)
        for parent in parents:
            children[parent].append(script)
    ready = deque(script for script in scripts if not missing[script])
    order: dict[Script, None] = {}
    while ready:
        script = ready.popleft()
        if children[script.revision]:
            order[script] = None
        for child in children[script.revision]:
            missing[child] -= 1
            if not missing[child]:
                ready.append(child)
    order.update(dict.fromkeys(scripts))
    return list(order)
