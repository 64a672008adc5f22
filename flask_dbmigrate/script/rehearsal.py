"""Tries what a new script says of columns and types, before the script is written."""

from __future__ import annotations

import ast
from io import StringIO
import typing as t

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy.engine.default import DefaultDialect

from .calls import Arguments
from .calls import bind
from .calls import literal
from .calls import read_call


class UnusableError(Exception):
    """A part of a new script that cannot be executed; the text says why.

    :param what: What it is for: "Column 'customer.name'".
    :param expression: The part.
    """

    def __init__(self, what: str, expression: str, reason: str) -> None:
        super().__init__(reason)
        self.what = what
        self.expression = expression


def rehearse(source: str, path: str) -> None:
    """Execute what a new script gives to operations, and none of the operations.

    :param source: The script.
    :param path: Where it will be.
    :raises UnusableError: if something fails, as ``shop.types.Money()`` does if it takes arguments.
    """
    try:
        tree = ast.parse(source, path)
    except SyntaxError as error:
        text = (error.text or "").strip()
        if "<" in text:  # what 'repr()' shows of most objects
            raise UnusableError("Something", text, f"SyntaxError: {error.msg}") from error
        raise
    names: dict[str, t.Any] = {"__name__": "revision", "__file__": path}
    exec(compile(tree, path, "exec"), names)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.decorator_list:
            local = names[node.name].__code__.co_varnames
            _Rehearsal(names, path, local).look(node, batch=None)


def _parts(node: ast.expr) -> list[ast.expr]:
    """List what a call is made of, and what the method that it calls belongs to."""
    if not isinstance(node, ast.Call):
        return []
    owners = [node.func.value] if isinstance(node.func, ast.Attribute) else []
    return [*owners, *node.args, *(keyword.value for keyword in node.keywords)]


class _Rehearsal:
    """Executes the arguments of Alembic's operations.

    :param names: The global names of the script.
    :param path: The script.
    :param local: The names that the function sets which they are in: nobody knows their values.
    """

    def __init__(self, names: dict[str, t.Any], path: str, local: t.Iterable[str]) -> None:
        options = {"as_sql": True, "output_buffer": StringIO()}
        context = MigrationContext.configure(dialect=DefaultDialect(), opts=options)
        self.names = {**names, "op": Operations(context)}  # 'op.f()' needs no database
        self.path = path
        self.local = frozenset(local)

    def look(self, node: ast.AST, batch: Arguments | None) -> None:
        """Look for operations in a part of the script.

        :param batch: The arguments of ``batch_alter_table()``, in a batch.
        """
        match node:
            case ast.With(items=[ast.withitem(context_expr=ast.Call() as call)]):
                batch = bind(call, "batch_alter_table")
            case ast.Call(func=ast.Attribute(value=ast.Name(id="op"), attr=kind)):
                return self._try(node, kind, None)
            case ast.Call(func=ast.Attribute(value=ast.Name(id="batch_op"), attr=kind)):
                return self._try(node, kind, batch)
        for child in ast.iter_child_nodes(node):
            self.look(child, batch)

    def _try(self, call: ast.Call, kind: str, batch: Arguments | None) -> None:
        operation = read_call(call, kind, path=self.path, strings={}, batch=batch)
        if operation is None:
            return
        parts = [*call.args, *(keyword.value for keyword in call.keywords)]
        if self._error(ast.copy_location(ast.Tuple(parts, ast.Load()), call)) is None:
            return
        for part in parts:
            if (found := self._unusable(part)) is not None:
                column = literal(part, {}) or operation.name
                name = ".".join(filter(None, (operation.schema, operation.table, column)))
                expression, error = found
                said = " ".join(str(error).split()).rstrip(".")
                reason = f"{type(error).__name__}: {said}"
                what = f"Column '{name}'" if column else f"Table '{name}'"
                raise UnusableError(what, ast.unparse(expression), reason) from error

    def _unusable(self, part: ast.expr) -> tuple[ast.expr, Exception] | None:
        """Find the innermost part that fails."""
        error = self._error(part)
        if error is None:
            return None
        for inner in _parts(part):
            if (found := self._unusable(inner)) is not None:
                return found
        return part, error

    def _error(self, part: ast.expr) -> Exception | None:
        """Execute a part of the script, unless it needs what only the run of it knows."""
        code = compile(ast.Expression(part), self.path, "eval")
        if "__main__" in code.co_names:
            return NameError("it is in the program that is run, which no script can import")
        if not self.local.isdisjoint(code.co_names):
            return None
        try:
            eval(code, self.names)
        except Exception as error:
            return error
        return None
