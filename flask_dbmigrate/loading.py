"""Tells on whose behalf the application is being loaded."""

from __future__ import annotations

import inspect

import click
from flask.cli import ScriptInfo

from .state import running


def is_for_migrating() -> bool:
    """Tell whether the application is needed, or may be, to bring its databases up to date.

    That is while ``flask`` loads it for another command than ``run``: which one, ``flask`` itself
    finds out only when the application is there. And while Alembic is at work, whoever called it.
    """
    return running.get() is not None or _is_loaded_by_flask() or _is_called_by_alembic()


def _is_loaded_by_flask() -> bool:
    context = click.get_current_context(silent=True)
    info = None if context is None else context.find_object(ScriptInfo)
    if context is None or info is None or info._loaded_app is not None:
        return False
    return isinstance(context.command, click.Group) or context.info_name != "run"


def _is_called_by_alembic() -> bool:
    """Look for Alembic in the stack of this thread: another one may run migrations meanwhile."""
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] == "alembic":
            return True
        frame = frame.f_back
    return False
