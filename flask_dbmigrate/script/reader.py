"""Reads what identifies revisions from their files; a file is imported when its revision runs.

To import 5000 scripts takes seconds, and most commands need no more than their identifiers.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections import deque
from contextlib import suppress
from functools import cached_property
from operator import attrgetter
import os
import re
from types import ModuleType
import typing as t
import warnings

from alembic.script import Script
from alembic.script import ScriptDirectory

from flask_dbmigrate import _alembic

from .revisions import as_tuple

Names = str | tuple[str, ...] | list[str] | None


class Identifiers(t.NamedTuple):
    """What a script says of its revision."""

    revision: str
    down_revision: Names
    branch_labels: Names = None
    depends_on: Names = None
    doc: str | None = None


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
        self._doc = identifiers.doc
        self._load = load

    @cached_property
    def module(self) -> ModuleType:  # type: ignore[override]
        """The script itself."""
        return self._load(self.path)

    @property
    def longdoc(self) -> str:
        """The docstring."""
        return (self._doc or "").strip()


def read_scripts(
    directory: ScriptDirectory, load: t.Callable[[str], ModuleType]
) -> t.Sequence[Script]:
    """Read the scripts of a directory, those that come first before the others.

    :param load: Imports a script.
    """
    if directory.sourceless:
        return list(_alembic.load_scripts(directory))
    scripts = (_read(directory, path, load) for path in _paths(directory))
    return _parents_first([script for script in scripts if script is not None])


def _read(
    directory: ScriptDirectory, path: str, load: t.Callable[[str], ModuleType]
) -> Script | None:
    with open(path, "rb") as file:
        identifiers = read_identifiers(file.read())
    if identifiers is None:
        return _alembic.load_script(directory, path)
    return LazyScript(identifiers, path, load)


_SCRIPT = re.compile(r"(?!\.#|__init__).*\.py")


def _paths(directory: ScriptDirectory) -> t.Iterator[str]:
    """List the files that Alembic takes for scripts, in its order."""
    seen = set()
    for location in _alembic.version_locations(directory):
        folder = os.path.realpath(location)
        for entry in _files(folder, is_recursive=directory.recursive_version_locations):
            path = os.path.realpath(entry) if entry.is_symlink() else entry.path
            if path in seen:
                warnings.warn(f"'{path}' is in several 'version_locations'.", stacklevel=2)
            else:
                seen.add(path)
                yield path


def _files(folder: str, *, is_recursive: bool) -> t.Iterator[os.DirEntry[str]]:
    with suppress(FileNotFoundError), os.scandir(folder) as found:
        entries = sorted(found, key=attrgetter("name"))
        for entry in entries:
            if _SCRIPT.fullmatch(entry.name) and not entry.is_dir():
                yield entry
        for entry in entries if is_recursive else ():
            if entry.is_dir(follow_symlinks=False) and entry.name != "__pycache__":
                yield from _files(entry.path, is_recursive=True)


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


_NAMES = {"revision", "down_revision", "branch_labels", "depends_on"}
_NAME = "|".join(_NAMES)

_HEAD = re.compile(
    r'(?>"""(?P<doc>(?:(?!""")[^\\])*)"""[ \t]*\n)?'
    r"(?P<lines>(?>[ \t]*(?:#[^\n]*)?\n"
    rf"|(?:from [\w.]+ )?import (?![^\n]*\b(?:{_NAME})\b)[\w., ]+\n"
    rf"|(?:{_NAME})\b[^=\n]*=[^\n]*\n)*)(?:@|(?:async )?def |\Z)"
)
"""What templates write before the first function: a docstring, imports, comments, assignments."""

_LINE = re.compile(rf"^({_NAME}) *(?::[^=\n]*)?=(.*)", flags=re.MULTILINE)

_MENTIONED = re.compile(rf"\b(?:{_NAME})\b")

_CODING = re.compile(rb"coding[:=]")


def read_identifiers(data: bytes) -> Identifiers | None:
    """Read what identifies a revision; None where only Python can tell.

    :param data: The contents of the file.
    """
    return _at_the_top(data) or _in_the_tree(data)


def _at_the_top(data: bytes) -> Identifiers | None:
    """Read a script as it was written from a template; None if it is not quite like that."""
    try:
        text = data.decode().replace("\r\n", "\n")
    except UnicodeDecodeError:
        return None
    found = _HEAD.match(text)
    if found is None or _MENTIONED.search(text, found.end()) or _CODING.search(data, 0, 200):
        return None
    try:
        values = {name: _value(text.strip()) for name, text in _LINE.findall(found["lines"])}
    except (SyntaxError, ValueError):  # it goes on in the next line, or is computed
        return None
    return _checked(values, found["doc"])


def _value(text: str) -> t.Any:
    if text == "None":
        return None
    bare = text[1:-1]
    return bare if text == f"'{bare}'" and bare.isalnum() else ast.literal_eval(text)


def _in_the_tree(data: bytes) -> Identifiers | None:
    """Read a script that has more at its top; None if that computes the identifiers."""
    values: dict[str, t.Any] = {}
    try:
        tree = ast.parse(data)
        for node in tree.body:
            name = _assigned_name(node)
            if name in _NAMES:
                values[name] = ast.literal_eval(node.value)  # type: ignore[attr-defined]
            elif any(map(_binds, _executed(node))):
                return None
    except (SyntaxError, ValueError):  # to import it shows what is wrong, or computes the value
        return None
    return _checked(values, ast.get_docstring(tree, clean=False))


def _assigned_name(node: ast.stmt) -> str:
    match node:
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name
    return ""


def _executed(node: ast.AST) -> t.Iterator[ast.AST]:
    """List what is executed when a script is imported: not what is in functions."""
    yield node
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
        for child in ast.iter_child_nodes(node):
            yield from _executed(child)


def _binds(node: ast.AST) -> bool:
    """Tell whether a node may give a value to one of the identifiers."""
    match node:
        case ast.Name(id=name, ctx=ast.Load()):
            return name in {"exec", "globals", "locals", "vars"}
        case ast.Name(id=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return name in _NAMES
        case ast.ClassDef(name=name) | ast.ExceptHandler(name=name) | ast.MatchAs(name=name):
            return name in _NAMES
        case ast.alias(name=name, asname=asname):
            return name == "*" or (asname or name.partition(".")[0]) in _NAMES
    return False


def _checked(values: t.Mapping[str, t.Any], doc: str | None) -> Identifiers | None:
    """Make identifiers of values if they have the types that Alembic expects."""
    if not isinstance(values.get("revision"), str) or "down_revision" not in values:
        return None
    return Identifiers(**values, doc=doc)
