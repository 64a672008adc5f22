"""Tells what a call in a script may do to a database, without the script being run."""

from __future__ import annotations

import ast
from collections import Counter
import enum
import re
import typing as t

from alembic.operations import Operations
import sqlalchemy as sa

from flask_dbmigrate.dialects import is_definition
from flask_dbmigrate.dialects import is_look


class Effect(enum.Enum):
    """What a call may do."""

    NOTHING = "changes nothing that lasts"
    DEFINITION = "changes the schema"
    CHANGE = "changes rows"
    UNKNOWN = "may change rows"


def _names_of(owner: type) -> set[str]:
    return {name for name in dir(owner) if not name.startswith("_")}


_DEFINITIONS = {
    name
    for name in _names_of(Operations)
    if name.startswith(("add_", "alter_", "create_", "drop_", "rename_"))
}
_EXECUTES = {"execute", "exec_driver_sql", "scalar", "scalars"}
UNSAID = {*_EXECUTES, "bulk_insert", "session", "query"}
"""What may change rows even where it is not called, but handed on."""

LOOKS = {"get_bind", "inspect", "connect", "from_engine"}

_METHODS = {
    *(name for name in _names_of(sa.Inspector) if name.startswith(("get_", "has_", "from_"))),
    *_names_of(sa.CursorResult) - {"connection", "context", "cursor"},
    *_names_of(str) | _names_of(sa.Select) | _names_of(sa.Column),
    *{"get", "items", "keys", "values", "copy", "index", "count", "append", "extend", "add"},
    *{"union", "intersection", "difference", "issubset", "issuperset", "isdisjoint"},
    *{"debug", "info", "warning", "error"},
    *{"f", "get_bind", "get_context", "inline_literal", "autocommit_block", "batch_alter_table"},
    *{"get_x_argument", "is_offline_mode", "connect", "reflect", "scalar", "scalars"},
}
_BUILTINS = {
    *{"all", "any", "bool", "dict", "enumerate", "float", "frozenset", "int", "isinstance", "len"},
    *{"list", "next", "print", "range", "repr", "reversed", "set", "sorted", "str", "tuple", "zip"},
    *{"iter", "max", "min", "sum", "hasattr", "Exception", "RuntimeError", "ValueError"},
}
_MODULES = re.compile(
    r"(?:collections|datetime|decimal|enum|functools|itertools|json|logging|math|re|string|sys|time"
    r"|textwrap|typing|uuid|warnings|os\.path|os\.environ|alembic\.context)\..*"
    r"|os\.(?:getenv|getpid|kill)|sqlalchemy(?!.*\b(?:orm|ext|event|func)\b)\..*"
    r"|sqlalchemy\.(?:.*\.)?func\.(?:count|min|max|sum|now|lower|upper|coalesce|database|version)"
)
_SETTING = re.compile(r"\s*SET\s+(?!PASSWORD|DEFAULT|GLOBAL|ROLE)[^;]*;?\s*", flags=re.IGNORECASE)


class Names:
    """What the names of a script stand for.

    :param tree: The script's syntax tree.
    """

    def __init__(self, tree: ast.Module) -> None:
        nodes = list(ast.walk(tree))
        self.functions = _once(
            (node.name, node) for node in nodes if isinstance(node, ast.FunctionDef)
        )
        self._modules = dict(_imported(nodes))
        self._stored = Counter(_stored(nodes))
        self._texts: dict[str, str | None] = {}
        for name, value in _assigned_once(nodes, self._stored):
            self._texts[name] = self._text(value)

    def effect_of(self, call: ast.Call) -> Effect:
        """Tell what a call may do that is not one of a function of the script."""
        match call.func:
            case ast.Attribute(attr=name) if name in _EXECUTES and (call.args or call.keywords):
                first = call.args[0] if call.args else call.keywords[0].value
                return self._effect_of_statement(first)
            case ast.Attribute(attr=name) if name in _DEFINITIONS:
                return Effect.DEFINITION
            case ast.Attribute(attr="bulk_insert"):
                return Effect.CHANGE
            case ast.Attribute(attr=name) if name in _METHODS:
                return Effect.NOTHING
            case ast.Name(id=name) if name in self._stored:
                return Effect.UNKNOWN
            case ast.Name(id=name) if name in _BUILTINS:
                return Effect.NOTHING
            case ast.Attribute() | ast.Name() as function:
                return Effect.NOTHING if self._is_of_library(function) else Effect.UNKNOWN
        return Effect.UNKNOWN

    def _is_of_library(self, function: ast.expr) -> bool:
        root, _, rest = ast.unparse(function).partition(".")
        module = None if root in self._stored else self._modules.get(root)
        return module is not None and bool(_MODULES.fullmatch(f"{module}.{rest}".rstrip(".")))

    def _effect_of_statement(self, argument: ast.expr) -> Effect:
        statement = self._text(argument)
        if statement is None:
            return Effect.NOTHING if _is_select(argument) else Effect.CHANGE
        if is_look(statement) or _SETTING.fullmatch(statement):
            return Effect.NOTHING
        return Effect.DEFINITION if is_definition(statement) else Effect.CHANGE

    def _text(self, node: ast.expr) -> str | None:
        """Tell the text that an expression is; what is put into it stands for a name."""
        match node:
            case ast.Constant(value=str(text)):
                return text
            case ast.JoinedStr(values=values):
                return "".join(self._text(value) or "x" for value in values)
            case ast.Name(id=name):
                return self._texts.get(name)
            case ast.BinOp(left=left, op=ast.Mod()):
                return self._text(left)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                texts = self._text(left), self._text(right)
                return None if texts[0] is None else texts[0] + (texts[1] or "x")
            case ast.Call(func=ast.Name(id=word) | ast.Attribute(attr=word), args=[first, *_]):
                if word in ("text", "dedent"):
                    return self._text(first)
        match node:
            case ast.Call(func=ast.Attribute(value=inner, attr="format" | "bindparams" | "strip")):
                return self._text(inner)
        return None


def _is_select(node: ast.expr) -> bool:
    """Tell whether an expression is ``sa.select()``, with whatever methods are called on it."""
    while isinstance(node, ast.Call):
        function = node.func
        if getattr(function, "attr", getattr(function, "id", "")) == "select":
            return True
        node = function.value if isinstance(function, ast.Attribute) else function
    return False


def _stored(nodes: t.Iterable[ast.AST]) -> t.Iterator[str]:
    """Name the variables that are set, as often as they are."""
    for node in nodes:
        match node:
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
                yield name


def _assigned_once(
    nodes: t.Iterable[ast.AST], stored: t.Mapping[str, int]
) -> t.Iterator[tuple[str, ast.expr]]:
    """Tell to what each variable is set that is set once, in the order of the script."""
    assignments = [node for node in nodes if isinstance(node, ast.Assign)]
    for node in sorted(assignments, key=lambda node: node.lineno):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if stored[name] == 1:
                yield name, value


FoundT = t.TypeVar("FoundT")


def _once(found: t.Iterable[tuple[str, FoundT]]) -> dict[str, FoundT]:
    """Keep what is there under its name only once."""
    pairs = list(found)
    counts = Counter(name for name, _ in pairs)
    return {name: value for name, value in pairs if counts[name] == 1}


def _imported(nodes: t.Iterable[ast.AST]) -> t.Iterator[tuple[str, str]]:
    """Tell what each imported name stands for."""
    for node in nodes:
        if isinstance(node, ast.Import):
            for name in node.names:
                root = name.name.partition(".")[0]
                yield (name.asname, name.name) if name.asname else (root, root)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for name in node.names:
                yield name.asname or name.name, f"{node.module}.{name.name}"
