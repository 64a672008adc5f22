"""What a run would do, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

from flask_dbmigrate.data import Data
from flask_dbmigrate.wording import shortened

from .calls import Operation


@dataclass(frozen=True)
class PlannedStep(Data):
    """One revision that would be run.

    :param direction: ``upgrade`` or ``downgrade``.
    :param revision: The revision.
    :param description: The step as the log shows it: ``upgrade a -> b, message``.
    :param operations: What it does, as far as its script can be read.
    """

    direction: str
    revision: str
    description: str
    operations: tuple[Operation, ...]

    def __str__(self) -> str:
        lines = [str(operation) for operation in self.operations] or ["nothing to do here"]
        return "\n    ".join([shortened(self.description, 200), *lines])


@dataclass(frozen=True)
class DatabasePlan(Data):
    """What would be done to one database.

    :param key: ``default``, or the bind key.
    :param url: Its URL, without the password.
    :param before: The heads it is at.
    :param steps: What would be run on it, in order.
    """

    key: str
    url: str
    before: tuple[str, ...]
    steps: tuple[PlannedStep, ...]

    def __str__(self) -> str:
        place = " and ".join(f"'{head}'" for head in self.before) or "base"
        heading = f"Database '{self.key}' is at {place}"
        if not self.steps:
            return f"{heading}: nothing to do."
        count = "1 revision" if len(self.steps) == 1 else f"{len(self.steps)} revisions"
        verb = "apply" if self.steps[0].direction == "upgrade" else "take back"
        return "\n".join([f"{heading}, with {count} to {verb}:", *map(str, self.steps)])


@dataclass(frozen=True)
class MigrationPlan(Data):
    """What a run would do.

    :param databases: One plan for each database, in the order they would be run.
    """

    databases: tuple[DatabasePlan, ...]

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.databases))
