"""One operation of a revision, read from the call that a script writes for it."""

from __future__ import annotations

import ast
from dataclasses import dataclass
import functools
import inspect
import typing as t

from alembic.operations import BatchOperations
from alembic.operations import Operations

from flask_dbmigrate.data import Data

PYTHON = "python"
"""The kind of what cannot be read."""

Arguments = t.Mapping[str, ast.expr]
Strings = t.Mapping[str, str]


@dataclass(frozen=True)
class Operation(Data):
    """One operation of a revision, as its script says it.

    :param kind: Alembic's name for it, ``drop_column``; ``python`` for what cannot be read.
    :param table: The table it is about; None if there is none, or if the script computes it.
    :param schema: The schema of the table, if the script names it.
    :param name: The column, index or constraint, or the new name of a table.
    :param text: The operation in words; what the script computes is in braces.
    :param path: The script.
    :param line: Where it is in the script.
    :param contains: With ``python``: operations in it, each of which may run or not.
    """

    kind: str
    table: str | None
    schema: str | None
    name: str | None
    text: str
    path: str
    line: int
    contains: tuple[Operation, ...] = ()

    def __str__(self) -> str:
        return self.text if self.kind == PYTHON else f"{self.text} (line {self.line})"


# the parameters of Alembic's operations that say what an operation is about
_TABLE = ("table_name", "source_table", "old_table_name", "table")
_SCHEMA = ("schema", "source_schema")
_NAME = ("column_name", "column", "constraint_name", "index_name", "new_table_name")
_CHANGES = ("new_column_name", "type_", "nullable", "server_default", "comment")

# what Operations has that is no operation
_OTHER = {"batch_alter_table", "f", "get_bind", "get_context", "implementation_for"}
_OTHER |= {"inline_literal", "invoke", "register_operation", "run_async"}


def read_call(
    call: ast.Call, kind: str, *, path: str, strings: Strings, batch: Arguments | None
) -> Operation | None:
    """Read a call of ``op``, or of a batch; None if it is no operation.

    :param path: The script.
    :param strings: The script's variables that are names of something.
    :param batch: The arguments of ``batch_alter_table()``, in a batch.
    """
    bound = None if kind in _OTHER else bind(call, kind, in_batch=batch is not None)
    if bound is None:
        return None
    arguments = {**(batch or {}), **bound}
    table, schema, name = (
        literal(_first(arguments, names), strings) for names in (_TABLE, _SCHEMA, _NAME)
    )
    if _first(arguments, _SCHEMA) is not None and schema is None:
        table = None  # a table of that name in another schema is another table
    text = _sentence(kind, call, arguments, strings)
    return Operation(kind, table, schema, name, text, path, call.lineno)


def bind(call: ast.Call, kind: str, *, in_batch: bool = False) -> dict[str, ast.expr] | None:
    """Give the arguments of a call their names; None if they do not fit the operation."""
    signature = _signature(kind, in_batch)
    keywords = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
    try:
        # the first is 'self'
        bound = signature.bind_partial(None, *call.args, **keywords) if signature else None
    except TypeError:
        return None
    if signature is None or bound is None:
        return None
    arguments: dict[str, ast.expr] = {}
    for name, value in bound.arguments.items():
        if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            arguments.update(value)
        elif isinstance(value, ast.expr):
            arguments[name] = value
    return arguments


@functools.cache
def _signature(kind: str, in_batch: bool) -> inspect.Signature | None:
    method = getattr(BatchOperations if in_batch else Operations, kind, None)
    return inspect.signature(method) if callable(method) else None


def _first(arguments: Arguments, names: t.Iterable[str]) -> ast.expr | None:
    """Find the first of some arguments that is given and not None."""
    given = (arguments.get(name) for name in names)
    return next((node for node in given if node is not None and not _is_none(node)), None)


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


# op.f("..."), sa.text("..."), sa.Column("...", ...): what they are about is their first argument
_WRAPPERS = {"f", "conv", "quoted_name", "text", "dedent", "table", "Table", "column", "Column"}


def literal(node: ast.expr | None, strings: Strings) -> str | None:
    """Tell the string that an expression is, or the name of the table or column."""
    match node:
        case ast.Constant(value=str(value)):
            return value
        case ast.Name(id=name):
            return strings.get(name)
        case ast.Call(func=ast.Name(id=word) | ast.Attribute(attr=word), args=[first, *_]):
            return literal(first, strings) if word in _WRAPPERS else None
    return None


def _sentence(kind: str, call: ast.Call, arguments: Arguments, strings: Strings) -> str:
    """Say what an operation does."""

    def shown(names: t.Iterable[str]) -> str:
        node = _first(arguments, names)
        if node is None:
            return ""
        return literal(node, strings) or f"{{{_in_one_line(ast.unparse(node))}}}"

    words, name = kind.replace("_", " "), shown(_NAME)
    table = ".".join(filter(None, (shown(_SCHEMA), shown(_TABLE))))
    if kind == "execute":
        return f"execute {_in_one_line(shown(('sqltext',)))}"
    if kind.endswith("_column"):
        return f"{words} '{table}.{name}'{_changes(arguments)}"
    if kind == "rename_table":
        return f"{words} '{table}' to '{name}'"
    if kind == "bulk_insert":
        return f"{words} into '{table}'"
    if name and table:
        return f"{words} '{name}' on '{table}'"
    if table and not kind.endswith("_table"):
        return f"{words} on '{table}'"
    if name or table:
        return f"{words} '{name or table}'"
    return f"{words} {_in_one_line(', '.join(map(ast.unparse, call.args)))}".rstrip()


def _changes(arguments: Arguments) -> str:
    changes = [
        f"{name.rstrip('_')}={ast.unparse(arguments[name])}"
        for name in _CHANGES
        if name in arguments
    ]
    return f": {_in_one_line(', '.join(changes))}" if changes else ""


def _in_one_line(text: str) -> str:
    """Shorten a text to what fits on a line."""
    line = " ".join(text.split())
    return line if len(line) <= 80 else f"{line[:79]}…"
