"""``show``, ``history``, ``heads`` and ``branches``: what lies in the migration directory."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
import typing as t

from flask_dbmigrate.data import Data
from flask_dbmigrate.errors import ConfigurationError
from flask_dbmigrate.script.directory import clear_errors
from flask_dbmigrate.script.revisions import describe
from flask_dbmigrate.script.revisions import Revision

from .targets import named_scripts
from .workspace import Directory
from .workspace import open_workspace
from .workspace import split_range
from .workspace import Workspace
from .workspace import XArg


@dataclass(frozen=True)
class Revisions(Data):
    """Some revisions, in the order they are shown.

    :param style: How ``str()`` shows each: ``full``, ``line`` or ``name``.
    """

    revisions: tuple[Revision, ...]
    style: str = field(default="line", repr=False, compare=False, metadata={"json": False})

    def __str__(self) -> str:
        return "\n".join(_STYLES[self.style](revision) for revision in self.revisions)

    def __iter__(self) -> t.Iterator[Revision]:
        return iter(self.revisions)

    def __len__(self) -> int:
        return len(self.revisions)


_STYLES: dict[str, t.Callable[[Revision], str]] = {
    "full": str,
    "line": lambda revision: revision.line,
    "name": lambda revision: revision.name,
}


def show(
    directory: Directory = None,
    revision: str | t.Sequence[str] = "head",
    *,
    x_arg: XArg = None,
    command: str | None = None,
) -> Revisions:
    """Show revisions in full.

    :param directory: The migration directory; by default the application's.
    :param revision: One revision or several; ``current`` for those the databases are at.
    :param x_arg: What ``context.get_x_argument()`` gives to env.py.
    :param command: The command name of the ``Migrate`` object, if there are several.
    :raises RevisionError: if one cannot be found.
    """
    workspace = open_workspace(directory, x_arg=x_arg, command=command)
    scripts = find_scripts(workspace, (revision,) if isinstance(revision, str) else revision)
    return Revisions(tuple(describe(script) for script in scripts), "full")


def find_scripts(workspace: Workspace, names: t.Iterable[str]) -> list[t.Any]:
    """Find the scripts of some revisions; ``current`` means those the databases are at."""
    scripts: dict[str, t.Any] = {}
    for name in names:
        _, name = split_range(name, sql=False)
        revisions = tuple(workspace.current_heads()) if name == "current" else name
        for script in named_scripts(workspace.directory, revisions):
            scripts[script.revision] = script
    return list(scripts.values())


def history(
    directory: Directory = None,
    rev_range: str | None = None,
    verbose: bool = False,
    indicate_current: bool = False,
    *,
    x_arg: XArg = None,
    command: str | None = None,
) -> Revisions:
    """List the revisions, newest first.

    :param rev_range: ``start:end``, where either may be missing, relative or ``current``.
    :param verbose: Show them in full.
    :param indicate_current: Mark those the databases are at.

    The other parameters are those of :func:`show`.

    :raises ConfigurationError: if the range is none.
    :raises RevisionError: if an end of the range cannot be found.
    """
    if rev_range is not None and rev_range.count(":") != 1:
        raise ConfigurationError(
            f"'{rev_range}' is not a range of revisions.",
            hint="Write '[start]:[end]', '[start]:' or ':[end]'.",
        )
    workspace = open_workspace(directory, x_arg=x_arg, command=command)
    ends = (rev_range or ":").strip().split(":")
    current = None
    if indicate_current or "current" in ends or workspace.is_set("revision_environment"):
        current = workspace.current_heads()
    place: t.Any = tuple(current or ()) or "base"
    base, head = (place if end == "current" else end for end in ends)
    with clear_errors(workspace.directory):
        scripts = list(workspace.directory.walk_revisions(base or "base", head or "heads"))
    return Revisions(
        tuple(describe(script, current if indicate_current else None) for script in scripts),
        "full" if verbose else "line",
    )


def heads(
    directory: Directory = None,
    verbose: bool = False,
    resolve_dependencies: bool = False,
    *,
    x_arg: XArg = None,
    command: str | None = None,
) -> Revisions:
    """List the heads of the migration directory.

    :param verbose: Show them in full.
    :param resolve_dependencies: Leave out heads that another revision depends on.

    The other parameters are those of :func:`show`.
    """
    directory_ = open_workspace(directory, x_arg=x_arg, command=command).directory
    names = "heads" if resolve_dependencies else tuple(directory_.get_heads())
    with clear_errors(directory_):
        scripts = directory_.get_revisions(names)
    return Revisions(tuple(map(describe, scripts)), "full" if verbose else "name")


@dataclass(frozen=True)
class BranchPoint(Data):
    """A revision that several others come after.

    :param revision: The revision.
    :param branches: Those that come after it.
    """

    revision: Revision
    branches: tuple[Revision, ...]


@dataclass(frozen=True)
class BranchPoints(Data):
    """The branch points of a migration directory, newest first.

    :param verbose: Whether ``str()`` shows them in full.
    """

    points: tuple[BranchPoint, ...]
    verbose: bool = field(default=False, repr=False, compare=False, metadata={"json": False})

    def __str__(self) -> str:
        return "\n".join(map(self._text, self.points))

    def __iter__(self) -> t.Iterator[BranchPoint]:
        return iter(self.points)

    def __len__(self) -> int:
        return len(self.points)

    def _text(self, point: BranchPoint) -> str:
        indent = " " * len(point.revision.revision)
        lines = [str(point.revision) if self.verbose else point.revision.name]
        for branch in point.branches:
            message = f", {branch.message}" if self.verbose else ""
            lines.append(f"{indent} -> {branch.name}{message}")
        return "\n".join(lines) + "\n"


def branches(
    directory: Directory = None,
    verbose: bool = False,
    *,
    x_arg: XArg = None,
    command: str | None = None,
) -> BranchPoints:
    """List the revisions that several others come after.

    :param verbose: Show them in full.

    The other parameters are those of :func:`show`.
    """
    directory_ = open_workspace(directory, x_arg=x_arg, command=command).directory
    points = [
        BranchPoint(
            describe(script),
            tuple(describe(directory_.get_revision(name)) for name in sorted(script.nextrev)),
        )
        for script in directory_.walk_revisions()
        if script.is_branch_point
    ]
    return BranchPoints(tuple(points), verbose)
