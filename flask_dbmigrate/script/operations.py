"""Reads from a script's syntax tree what a revision does; nothing of it is executed."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from pathlib import Path
import typing as t

from .calls import Arguments
from .calls import bind
from .calls import literal
from .calls import Operation
from .calls import PYTHON
from .calls import read_call
from .directory import shorten


def read_operations(
    path: str, function: str, *, engine_name: str | None = None
) -> tuple[Operation, ...]:
    """Read what a function of a script does.

    :param path: The script.
    :param function: ``upgrade`` or ``downgrade``.
    :param engine_name: What env.py gives to the function: the bind key, empty for the default
        database; None if it gives nothing.
    """
    script = read_syntax(path)
    node = script.functions.get(function)
    if node is None:
        return (_python(path, 1),)
    if node.decorator_list:
        inside = _Reader(script).inside(node)
        return (_python(path, node.lineno, inside),)
    if engine_name and not node.args.args:
        return ()  # it was written for the default database only
    dispatch = _dispatch_of(node, engine_name)
    return tuple(_joined(_Reader(script, dispatch).statements(node.body)))


def read_body(script: Syntax, function: str, engine_name: str | None) -> list[ast.stmt]:
    """Read which statements a function runs for a database, where it chooses a function for it."""
    node = script.functions[function]
    reader = _Reader(script, _dispatch_of(node, engine_name))
    return [chosen for statement in node.body for chosen in reader.chosen(statement)]


def _python(path: str, line: int, contains: t.Iterable[Operation] = ()) -> Operation:
    text = f"runs Python ({shorten(path)}:{line})"
    return Operation(PYTHON, None, None, None, text, path, line, tuple(contains))


def _joined(operations: t.Iterable[Operation]) -> list[Operation]:
    """Have one entry for several statements in a row that cannot be read."""
    joined: list[Operation] = []
    for operation in operations:
        if joined and joined[-1].kind == operation.kind == PYTHON:
            contains = joined[-1].contains + operation.contains
            joined[-1] = replace(joined[-1], contains=contains)
        else:
            joined.append(operation)
    return joined


@dataclass(frozen=True)
class Syntax:
    """What the functions of a script share.

    :param functions: Its functions.
    :param strings: Its variables that are names of something.
    :param names_of_op: How it calls ``alembic.op``.
    :param tree: Its syntax tree.
    """

    path: str
    functions: dict[str, ast.FunctionDef] = field(default_factory=dict)
    strings: dict[str, str] = field(default_factory=dict)
    names_of_op: set[str] = field(default_factory=lambda: {"op", "alembic.op"})
    tree: ast.Module = field(default_factory=lambda: ast.Module([], []))


def read_syntax(path: str) -> Syntax:
    script = Syntax(path)
    if not path.endswith(".py"):  # Alembic can load compiled scripts
        return script
    script.tree.body = ast.parse(Path(path).read_bytes()).body
    for node in script.tree.body:
        if isinstance(node, ast.FunctionDef):
            script.functions[node.name] = node
        elif isinstance(node, ast.ImportFrom) and node.module == "alembic":
            script.names_of_op.update(name.asname or name.name for name in node.names)
        elif assigned := _assigned(node):
            name, value = assigned
            if (string := literal(value, script.strings)) is not None:
                script.strings[name] = string
    return script


def _assigned(node: ast.stmt) -> tuple[str, ast.expr] | None:
    """Tell which variable a statement sets, and to what, if it sets one."""
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            return name, value
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            return name, value
    return None


class _Dispatch(t.NamedTuple):
    """How a script for several databases finds the function of one.

    :param function: ``upgrade`` or ``downgrade``.
    :param parameter: The name of its parameter.
    :param engine_name: The parameter's value.
    """

    function: str
    parameter: str
    engine_name: str

    def is_by_name(self, statement: ast.stmt) -> bool:
        """Recognise what the templates of Flask-Migrate and Alembic write."""
        name, parameter = self.function, self.parameter
        return ast.unparse(statement) in (
            f"globals()['{name}_%s' % {parameter}]()",
            f"globals()[f'{name}_{{{parameter}}}']()",
            f"eval('{name}_%s' % {parameter})()",
        )

    def is_by_choices(self, statement: ast.stmt, variable: str) -> bool:
        """Recognise what our own template writes."""
        test = f"if {self.parameter} in {variable}:\n    "
        return ast.unparse(statement).removeprefix(test) == f"{variable}[{self.parameter}]()"


def _dispatch_of(node: ast.FunctionDef, engine_name: str | None) -> _Dispatch | None:
    if len(node.args.args) != 1:
        return None
    return _Dispatch(node.name, node.args.args[0].arg, engine_name or "")


class _Reader:
    """Reads the statements of one function, in their order.

    :param script: The script it is in.
    :param dispatch: How it finds the function for a database, if there are several.
    :param follows: Whether functions of the script that it calls are read, too.
    """

    def __init__(
        self, script: Syntax, dispatch: _Dispatch | None = None, *, follows: bool = True
    ) -> None:
        self.script = script
        self.dispatch = dispatch
        self.follows = follows
        self.strings = dict(script.strings)
        self.batches: dict[str, Arguments] = {}
        self.choices: dict[str, dict[str, str]] = {}

    def statements(self, body: t.Iterable[ast.stmt]) -> t.Iterator[Operation]:
        """Read some statements."""
        for statement in body:
            yield from self._statement(statement)

    def _statement(self, node: ast.stmt) -> t.Iterable[Operation]:
        match node:
            case ast.Pass() | ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant()):
                return ()
            case ast.With() if all(self._enter(item) for item in node.items):
                return self.statements(node.body)
            case ast.Expr(value=ast.Call() as call) if operation := self._operation(call):
                return (operation,)
            case ast.Expr(value=ast.Call(func=ast.Name(id=name), args=[], keywords=[])) if (
                self._is_followed(name)
            ):
                return self._follow(name, follows=False)
        if (chosen := self._chosen(node)) is not None:
            return self._follow(chosen, follows=self.follows)
        if assigned := _assigned(node):
            return self._assignment(node, *assigned)
        return (_python(self.script.path, node.lineno, self.inside(node)),)

    def _enter(self, item: ast.withitem) -> bool:
        """Enter a ``with`` that only has operations in it; tell whether it is one."""
        match item:
            case ast.withitem(context_expr=ast.Call(func=ast.Attribute(attr="autocommit_block"))):
                return True
            case ast.withitem(
                context_expr=ast.Call(func=ast.Attribute(attr="batch_alter_table")) as call,
                optional_vars=ast.Name(id=variable),
            ):
                self.batches[variable] = bind(call, "batch_alter_table") or {}
                return True
        return False

    def _is_followed(self, name: str) -> bool:
        function = self.script.functions.get(name)
        return self.follows and function is not None and not _takes_arguments(function)

    def _follow(self, name: str, *, follows: bool) -> t.Iterable[Operation]:
        function = self.script.functions.get(name)
        return _Reader(self.script, follows=follows).statements(function.body if function else ())

    def _chosen(self, node: ast.stmt) -> str | None:
        """Tell which function a statement runs that chooses one for the database.

        Where there is no function of that name, there is nothing to do for the database.
        """
        if self.dispatch is None:
            return None
        if self.dispatch.is_by_name(node):
            return f"{self.dispatch.function}_{self.dispatch.engine_name}"
        for variable, choices in self.choices.items():
            if self.dispatch.is_by_choices(node, variable):
                return choices.get(self.dispatch.engine_name, "")
        return None

    def chosen(self, node: ast.stmt) -> list[ast.stmt]:
        """Tell what runs for the database: the statements of the function that is chosen for it."""
        if (name := self._chosen(node)) is not None:
            function = self.script.functions.get(name)
            return function.body if function else []
        assigned = _assigned(node)
        choices = _choices(assigned[1]) if self.dispatch and assigned else None
        if assigned is None or choices is None:
            return [node]
        self.choices[assigned[0]] = choices
        return []

    def _assignment(self, node: ast.stmt, name: str, value: ast.expr) -> t.Iterable[Operation]:
        operation = self._operation(value) if isinstance(value, ast.Call) else None
        string = operation.table if operation else literal(value, self.strings)
        choices = _choices(value)
        self.strings.pop(name, None)
        if string is not None:
            self.strings[name] = string
        if choices is not None:
            self.choices[name] = choices
        if operation is not None:
            return (operation,)
        if string is not None or choices is not None:
            return ()
        return (_python(self.script.path, node.lineno, self.inside(value)),)

    def inside(self, node: ast.AST, seen: frozenset[str] = frozenset()) -> t.Iterator[Operation]:
        """Find the operations in what cannot be read, and in the functions that it calls."""
        match node:
            case ast.Call() if operation := self._operation(node):
                yield operation
            case ast.Call(func=ast.Name(id=name)) if name in self.script.functions.keys() - seen:
                function = self.script.functions[name]
                yield from _Reader(self.script).inside(function, seen | {name})
            case ast.withitem():
                self._enter(node)
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                self.strings.pop(name, None)
        for child in ast.iter_child_nodes(node):
            yield from self.inside(child, seen)

    def _operation(self, call: ast.Call) -> Operation | None:
        """Read a call of ``op`` or of a batch; None if it is something else."""
        if not isinstance(call.func, ast.Attribute):
            return None
        owner, batch = ast.unparse(call.func.value), None
        if owner in self.batches:
            batch = self.batches[owner]
        elif owner not in self.script.names_of_op:
            return None
        return read_call(
            call, call.func.attr, path=self.script.path, strings=self.strings, batch=batch
        )


def _takes_arguments(function: ast.FunctionDef) -> bool:
    return bool(function.args.args or function.args.kwonlyargs or function.decorator_list)


def _choices(value: ast.expr) -> dict[str, str] | None:
    """Read a dictionary of functions by key."""
    if not isinstance(value, ast.Dict) or not value.keys:
        return None
    choices = {
        str(key.value): function.id
        for key, function in zip(value.keys, value.values, strict=True)
        if isinstance(key, ast.Constant) and isinstance(function, ast.Name)
    }
    return choices if len(choices) == len(value.keys) else None
