"""Every private name of Alembic, one function each; tested with 1.18.5 and 1.20.1."""

from __future__ import annotations

import typing as t

import alembic.context
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import Script
from alembic.script import ScriptDirectory


class Step(t.Protocol):
    """What Alembic calls a migration step: one revision in one direction, or a stamp."""

    def __str__(self) -> str: ...


def register_environment(environment: type[EnvironmentContext]) -> None:
    """Let ``from alembic import context`` speak for a subclass of ``EnvironmentContext`` too.

    Alembic registers its module proxies class by class; without this, ``context`` finds None.
    """
    attributes = vars(alembic.context)
    environment.create_module_class_proxy(attributes, attributes)


def load_scripts(directory: ScriptDirectory) -> t.Iterator[Script]:
    """Import the revision scripts of a directory, one after the other."""
    return directory._load_revisions()


def version_locations(directory: ScriptDirectory) -> tuple[str, ...]:
    """Tell the folders that hold a directory's revision scripts."""
    return tuple(str(path) for path in directory._version_locations)


def upgrade_steps(
    directory: ScriptDirectory, target: str, heads: tuple[str, ...]
) -> t.Sequence[Step]:
    """Plan the way up from these heads to a target."""
    return directory._upgrade_revs(target, heads)  # type: ignore[arg-type]


def downgrade_steps(
    directory: ScriptDirectory, target: str, heads: tuple[str, ...]
) -> t.Sequence[Step]:
    """Plan the way down from these heads to a target."""
    return directory._downgrade_revs(target, heads)  # type: ignore[arg-type]


def stamp_steps(
    directory: ScriptDirectory, targets: tuple[str, ...], heads: tuple[str, ...]
) -> t.Sequence[Step]:
    """Plan how the version table gets from these heads to these targets."""
    return directory._stamp_revs(targets, heads)


def ensure_version_table(context: MigrationContext) -> None:
    """Create the version table unless it exists; offline, write its CREATE TABLE."""
    context._ensure_version_table()


def script_of(step: Step) -> Script | None:
    """Tell which script a step runs; None for a stamp."""
    return getattr(step, "revision", None)
