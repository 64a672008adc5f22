"""The commands as Python functions: they return values, raise errors, and print nothing.

Each function's module is imported when the function is first used, Alembic with it.
"""

from __future__ import annotations

from importlib import import_module
import typing as t

if t.TYPE_CHECKING:
    from .authoring import merge as merge
    from .authoring import migrate as migrate
    from .authoring import revision as revision
    from .browsing import branches as branches
    from .browsing import heads as heads
    from .browsing import history as history
    from .browsing import show as show
    from .checking import check as check
    from .checking import current as current
    from .editing import edit as edit
    from .planning import plan_downgrade as plan_downgrade
    from .planning import plan_upgrade as plan_upgrade
    from .reporting import run_log as run_log
    from .reporting import status as status
    from .resuming import resolve as resolve
    from .resuming import resume as resume
    from .running import downgrade as downgrade
    from .running import ensure_version as ensure_version
    from .running import stamp as stamp
    from .running import upgrade as upgrade
    from .setup import init as init
    from .setup import list_templates as list_templates

FAMILIES = {
    "authoring": ("merge", "migrate", "revision"),
    "browsing": ("branches", "heads", "history", "show"),
    "checking": ("check", "current"),
    "editing": ("edit",),
    "reporting": ("run_log", "status"),
    "resuming": ("resolve", "resume"),
    "running": ("downgrade", "ensure_version", "stamp", "upgrade"),
    "setup": ("init", "list_templates"),
}
"""Which functions each module has; the modules of ``cli`` have the same names and commands."""

_homes = {name: family for family, names in FAMILIES.items() for name in names}
_homes |= {"plan_downgrade": "planning", "plan_upgrade": "planning"}


def __getattr__(name: str) -> t.Any:
    if name not in _homes:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_homes[name]}", __name__), name)
