"""A revision as plain data, and how it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import indent
import typing as t

from alembic.script import Script

from flask_dbmigrate.data import Data
from flask_dbmigrate.wording import shortened

from .identifiers import as_tuple


@dataclass(frozen=True)
class Revision(Data):
    """One revision script.

    :param revision: Its identifier.
    :param down_revisions: The revisions it comes after; none for a base.
    :param next_revisions: The revisions that come after it.
    :param branch_labels: Names of the branch it is on.
    :param depends_on: Revisions that must be applied before it, on whatever branch.
    :param message: The first paragraph of the script's docstring.
    :param description: The whole docstring.
    :param path: The script.
    :param is_head: Whether no revision comes after it.
    :param is_current: Whether a database is at it; None where nobody looked.
    """

    revision: str
    down_revisions: tuple[str, ...]
    next_revisions: tuple[str, ...]
    branch_labels: tuple[str, ...]
    depends_on: tuple[str, ...]
    message: str
    description: str
    path: str
    is_head: bool
    is_current: bool | None = None

    @property
    def marks(self) -> str:
        """What is special about it, as ``history`` shows it: `` (head) (branchpoint)``."""
        marks = {
            "head": self.is_head,
            "branchpoint": len(self.next_revisions) > 1,
            "mergepoint": len(self.down_revisions) > 1,
            "current": self.is_current,
        }
        return "".join(f" ({name})" for name, applies in marks.items() if applies)

    @property
    def name(self) -> str:
        """Identifier, branch labels and marks."""
        labels = f" ({', '.join(self.branch_labels)})" if self.branch_labels else ""
        return f"{self.revision}{labels}{self.marks}"

    @property
    def line(self) -> str:
        """The line of ``flask db history``."""
        depends_on = f" ({', '.join(self.depends_on)})" if self.depends_on else ""
        return f"{self.parents}{depends_on} -> {self.name}, {shortened(self.message, 100)}"

    @property
    def parents(self) -> str:
        """The revisions it comes after, or ``<base>``."""
        return ", ".join(self.down_revisions) or "<base>"

    def __str__(self) -> str:
        facts = [
            ("Rev", f"{self.revision}{self.marks}"),
            ("Merges" if len(self.down_revisions) > 1 else "Parent", self.parents),
            ("Also depends on", ", ".join(self.depends_on)),
            (
                "Branches into",
                ", ".join(self.next_revisions) if len(self.next_revisions) > 1 else "",
            ),
            ("Branch names", ", ".join(self.branch_labels)),
            ("Path", self.path),
        ]
        lines = [f"{name}: {value}" for name, value in facts if value]
        return "\n".join(lines) + f"\n\n{indent(self.description, '    ')}\n"


def describe(script: Script, current: t.Container[str] | None = None) -> Revision:
    """Turn Alembic's script into plain data.

    :param current: The revisions a database is at, if somebody looked.
    """
    return Revision(
        revision=script.revision,
        down_revisions=as_tuple(script.down_revision),
        next_revisions=tuple(sorted(script.nextrev)),
        branch_labels=tuple(sorted(script.branch_labels or ())),
        depends_on=as_tuple(script.dependencies),
        message=script.doc,
        description=script.longdoc,
        path=script.path,
        is_head=script.is_head,
        is_current=None if current is None else script.revision in current,
    )
