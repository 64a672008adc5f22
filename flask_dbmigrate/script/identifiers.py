"""What a script says of its revision, read without importing it where that is possible."""

from __future__ import annotations

import ast
import re
import typing as t

Names = str | tuple[str, ...] | list[str] | None


def as_tuple(value: str | t.Collection[str] | None) -> tuple[str, ...]:
    """Take one name, several or none, as scripts write them."""
    return (value,) if isinstance(value, str) else tuple(value or ())


class Identifiers(t.NamedTuple):
    """What a script says of its revision."""

    revision: str
    down_revision: Names
    branch_labels: Names = None
    depends_on: Names = None
    doc: str | None = None


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
    if found is None or _is_mentioned(text, found.end()) or _CODING.search(data, 0, 200):
        return None
    try:
        values = {name: _value(text.strip()) for name, text in _LINE.findall(found["lines"])}
    except (SyntaxError, ValueError):  # it goes on in the next line, or is computed
        return None
    return _checked(values, found["doc"])


def _is_mentioned(text: str, start: int) -> bool:
    """Tell whether an identifier is named from here on; to look for a part of it is fast."""
    parts = ("revision", "branch_labels", "depends_on")
    return any(text.find(part, start) >= 0 for part in parts) and bool(
        _MENTIONED.search(text, start)
    )


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
