"""Finds functions of scripts that do nothing when they are called."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from collections.abc import Awaitable
from collections.abc import Coroutine
from collections.abc import Generator
import inspect
import re
import typing as t

from flask_dbmigrate import _alembic
from flask_dbmigrate.errors import ScriptError

from .directory import shorten

_HINT = (
    "Write it as 'def {name}():' without 'yield'; "
    "'op.run_async()' runs what is asynchronous, and 'pass' does nothing."
)

_ASYNC = "an 'async def'"

_KINDS: tuple[tuple[t.Callable[[t.Any], bool], str], ...] = (
    (inspect.isclass, "a class"),
    (lambda function: not callable(function), "no function"),
    (inspect.iscoroutinefunction, _ASYNC),
    (inspect.isasyncgenfunction, _ASYNC),
    (inspect.isgeneratorfunction, "a generator"),
    (lambda function: inspect.iscoroutinefunction(function.__call__), _ASYNC),
    (lambda function: inspect.isgeneratorfunction(function.__call__), "a generator"),
)


class NothingDoneError(Exception):
    """A function that has returned what nobody executes; the text is a clause."""


def require_functions(steps: t.Iterable[_alembic.Step], arguments: t.Mapping[str, t.Any]) -> None:
    """Check that the functions of scripts do something when they are called.

    :param arguments: What env.py gives to them; ``engine_name`` is the bind key.
    :raises ScriptError: if one is a generator or asynchronous, or is no function.
    """
    for step in steps:
        script = _alembic.script_of(step)
        if script is None:
            continue
        direction = "upgrade" if step.info.is_upgrade else "downgrade"
        functions = vars(script.module)
        for name in (direction, *_names_for_database(direction, arguments)):
            what = _what_is_wrong(functions[name]) if name in functions else None
            if what is not None:
                raise ScriptError(
                    f"'{name}' in '{shorten(script.path)}' is {what}: to call it does nothing.",
                    hint=_HINT.format(name=name),
                    path=script.path,
                )


def _names_for_database(direction: str, arguments: t.Mapping[str, t.Any]) -> t.Iterator[str]:
    """Name the functions that a script for several databases may call for one of them."""
    engine_name = arguments.get("engine_name", "")
    for key in (engine_name, re.sub(r"\W", "_", engine_name)):
        yield f"{direction}_{key}"


def _what_is_wrong(function: t.Any) -> str | None:
    return next((what for applies, what in _KINDS if applies(function)), None)


def require_nothing_left(name: str, result: object) -> None:
    """Check that what a function returned is not what it was to do.

    :raises NothingDoneError: if it is.
    """
    if isinstance(result, Awaitable | AsyncGenerator | Generator | map):
        if isinstance(result, Coroutine):
            result.close()  # or Python warns that it was never awaited
        raise NothingDoneError(
            f"'{name}' has returned a '{type(result).__name__}', which nobody executes"
        )
