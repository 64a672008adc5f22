"""Every private name of Alembic, one function each; tested with 1.18.5 and 1.20.1."""

from __future__ import annotations

from contextlib import contextmanager
import traceback
from types import ModuleType
import typing as t

import alembic.context
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import Script
from alembic.script import ScriptDirectory
from alembic.script import write_hooks

from .errors import ScriptError


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
    with _functions_of_scripts():
        return directory._upgrade_revs(target, heads)  # type: ignore[arg-type]


def downgrade_steps(
    directory: ScriptDirectory, target: str, heads: tuple[str, ...]
) -> t.Sequence[Step]:
    """Plan the way down from these heads to a target."""
    with _functions_of_scripts():
        return directory._downgrade_revs(target, heads)  # type: ignore[arg-type]


@contextmanager
def _functions_of_scripts() -> t.Iterator[None]:
    """Name the script that lacks the function a step needs: Alembic looks for it while planning."""
    try:
        yield
    except AttributeError as error:
        if not isinstance(error.obj, ModuleType):
            raise
        path = str(error.obj.__file__)
        raise ScriptError(
            f"The script '{path}' has no function '{error.name}()'.",
            hint=f"Add 'def {error.name}(): pass', or what it should do.",
            path=path,
        ) from error


def stamp_steps(
    directory: ScriptDirectory, targets: tuple[str, ...], heads: tuple[str, ...]
) -> t.Sequence[Step]:
    """Plan how the version table gets from these heads to these targets."""
    return directory._stamp_revs(targets, heads)


def ensure_version_table(context: MigrationContext) -> None:
    """Create the version table unless it exists; offline, write its CREATE TABLE."""
    context._ensure_version_table()


def failed_in_hook(error: BaseException) -> bool:
    """Tell whether an error comes from a post-write hook: the script was written by then."""
    frames = traceback.extract_tb(error.__traceback__)
    return any(frame.filename == write_hooks.__file__ for frame in frames)


def script_of(step: Step) -> Script | None:
    """Tell which script a step runs; None for a stamp."""
    return getattr(step, "revision", None)
