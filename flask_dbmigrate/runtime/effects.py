"""Tells from a script's syntax tree what becomes of it when it is run again from its start."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from itertools import count
import typing as t

from flask_dbmigrate.script.operations import read_body
from flask_dbmigrate.script.operations import read_syntax

from .called import Effect
from .called import LOOKS
from .called import Names
from .called import UNSAID


class Emission(t.NamedTuple):
    """A call that emits statements.

    :param first: Its first line.
    :param last: Its last line.
    :param branches: The parts of the script around it that need not be run, by number.
    :param is_certain: Whether it is run once, whatever is the case.
    """

    first: int
    last: int
    effect: Effect
    branches: frozenset[int]
    is_certain: bool


@dataclass(frozen=True)
class Effects:
    """What a function of a script may do to a database.

    :param is_rerunnable: Whether the script says that it can be run again from its start.
    :param looks: Whether it may look what there is.
    :param emissions: What emits statements, in the order in which it is run.
    """

    is_rerunnable: bool
    looks: bool
    emissions: tuple[Emission, ...]

    @property
    def changes_data(self) -> bool:
        """Whether it may change rows: whatever is not known may."""
        return any(found.effect is not Effect.DEFINITION for found in self.emissions)

    @property
    def is_steady(self) -> bool:
        """Whether what changes rows is known, and is run once, whatever is the case."""
        return all(
            found.effect is Effect.DEFINITION
            or (found.effect is Effect.CHANGE and found.is_certain)
            for found in self.emissions
        )

    def ends_branch(self, line: int) -> bool:
        """Tell whether nothing follows a line in the branches that it is in, as far as is known."""
        is_known = False
        later: set[int] = set()
        for found in reversed(self.emissions):
            if found.first <= line <= found.last:
                is_known = True
                if not later.isdisjoint(found.branches):
                    return False
            later |= found.branches
        return is_known


UNKNOWN = Effects(False, True, (Emission(0, 0, Effect.UNKNOWN, frozenset(), is_certain=False),))
"""What is said of a function that cannot be read."""


def read_effects(path: str, function: str, *, engine_name: str | None = None) -> Effects:
    """Read what a function of a script may do; see ``read_operations()``."""
    script = read_syntax(path)
    node = script.functions.get(function)
    if node is None or node.decorator_list:
        return UNKNOWN
    walk = _Walk(Names(script.tree))
    walk.block(read_body(script, function, engine_name), _Place())
    return Effects(_is_rerunnable(script.tree), walk.looks, tuple(walk.emissions))


def _is_rerunnable(tree: ast.Module) -> bool:
    said = {ast.unparse(node).replace(": bool", "") for node in tree.body}
    return "rerunnable = True" in said


class _Place(t.NamedTuple):
    """Where in a script a walk is.

    :param branches: As in :class:`Emission`, like the next.
    :param functions: The functions that it came through.
    """

    branches: frozenset[int] = frozenset()
    is_certain: bool = True
    functions: frozenset[str] = frozenset()


class _Walk:
    """Goes through what a function runs, in that order, functions of the script included."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.emissions: list[Emission] = []
        self.looks = False
        self._numbers = count()

    def block(self, statements: t.Iterable[ast.stmt], place: _Place) -> None:
        """Go through statements; what comes after one that may leave is a branch."""
        for statement in statements:
            self.visit(statement, place)
            if _may_leave(statement):
                place = self._branch(place)

    def _branch(self, place: _Place) -> _Place:
        branches = place.branches | {next(self._numbers)}
        return place._replace(branches=branches, is_certain=False)

    def visit(self, node: ast.AST, place: _Place) -> None:
        """Go through a statement or an expression."""
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                pass  # until it is called
            case ast.Call():
                self._call(node, place)
            case ast.Attribute() | ast.Name():
                self._reference(node, place)
            case ast.For() | ast.While() | ast.Lambda():
                for _ in range(2):  # what may be run several times comes after itself
                    self._parts(node, place._replace(is_certain=False))
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                has_test = any(part.ifs for part in node.generators)
                for _ in range(2):
                    part = self._branch(place) if has_test else place
                    self._parts(node, part._replace(is_certain=False))
            case ast.If() | ast.IfExp() | ast.Match() | ast.Try() | ast.BoolOp():
                self._choice(node, place)
            case _:
                self._parts(node, place)

    def _parts(self, node: ast.AST, place: _Place) -> None:
        for _, value in ast.iter_fields(node):
            self._field(value, place)

    def _field(self, value: t.Any, place: _Place) -> None:
        if not isinstance(value, list):
            value = [value]
        if value and isinstance(value[0], ast.stmt):
            self.block(value, place)
            return
        for node in value:
            if isinstance(node, ast.AST):
                self.visit(node, place)

    def _choice(self, node: ast.AST, place: _Place) -> None:
        """Go through parts of which any may be left out, but for what is always run."""
        for name, value in ast.iter_fields(node):
            if name in ("test", "subject", "finalbody"):
                self._field(value, place)
            elif name in ("handlers", "cases", "values"):
                for part in value:
                    self.visit(part, self._branch(place))
            else:
                self._field(value, self._branch(place))

    def _call(self, node: ast.Call, place: _Place) -> None:
        for part in (*node.args, *node.keywords):
            self.visit(part, place)
        if isinstance(node.func, ast.Name):
            self._look(node.func.id)
            if node.func.id in self.names.functions:
                self._follow(node.func.id, place)
                return
        elif isinstance(node.func, ast.Attribute):
            self._look(node.func.attr)
            self.visit(node.func.value, place)
        else:
            self.visit(node.func, place)
        self._emit(node, self.names.effect_of(node), place)

    def _reference(self, node: ast.Attribute | ast.Name, place: _Place) -> None:
        """Note what is not called here, but may be elsewhere."""
        if isinstance(node, ast.Name):
            if node.id in self.names.functions:
                self._follow(node.id, self._branch(place))
            return
        if node.attr in UNSAID or isinstance(node.ctx, ast.Store):
            self._emit(node, Effect.UNKNOWN, place)
        self.visit(node.value, place)

    def _follow(self, name: str, place: _Place) -> None:
        node = self.names.functions[name]
        if name in place.functions:
            self._emit(node, Effect.UNKNOWN, place)
        else:
            self.block(node.body, place._replace(functions=place.functions | {name}))

    def _look(self, name: str) -> None:
        self.looks = self.looks or name in LOOKS

    def _emit(self, node: ast.expr | ast.stmt, effect: Effect, place: _Place) -> None:
        if effect is not Effect.NOTHING:
            last = node.end_lineno or node.lineno
            self.emissions.append(
                Emission(node.lineno, last, effect, place.branches, place.is_certain)
            )


def _may_leave(statement: ast.stmt) -> bool:
    """Tell whether what follows a statement may be left out because of it."""
    return _contains(statement, (ast.Return, ast.Continue, ast.Break))


def _contains(node: ast.AST, kinds: tuple[type[ast.AST], ...]) -> bool:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        return False
    if isinstance(node, ast.For | ast.While):
        kinds = (ast.Return,)  # the others leave the loop only
    return isinstance(node, kinds) or any(
        _contains(child, kinds) for child in ast.iter_child_nodes(node)
    )
