"""Database migrations for Flask applications on SQLAlchemy and Alembic.

::

    from flask_dbmigrate import Migrate

    migrate = Migrate(app, db)

Importing this package imports neither Alembic nor SQLAlchemy: a web worker that never
migrates pays nothing. They are loaded when one of the names below is first used.
"""

from __future__ import annotations

from importlib import import_module
import typing as t

from . import commands as _commands
from .errors import AmbiguousRevisionError as AmbiguousRevisionError
from .errors import CheckFailedError as CheckFailedError
from .errors import ConfigurationError as ConfigurationError
from .errors import DatabaseAccessError as DatabaseAccessError
from .errors import DatabaseUnavailableError as DatabaseUnavailableError
from .errors import DataLossError as DataLossError
from .errors import DBMigrateError as DBMigrateError
from .errors import DriftError as DriftError
from .errors import EditedRevisionError as EditedRevisionError
from .errors import HalfAppliedError as HalfAppliedError
from .errors import LockNotAcquiredError as LockNotAcquiredError
from .errors import MigrationDirectoryError as MigrationDirectoryError
from .errors import MigrationError as MigrationError
from .errors import MultipleHeadsError as MultipleHeadsError
from .errors import NoDatabaseError as NoDatabaseError
from .errors import NotRegisteredError as NotRegisteredError
from .errors import PendingRevisionsError as PendingRevisionsError
from .errors import ReadOnlyDatabaseError as ReadOnlyDatabaseError
from .errors import RevisionError as RevisionError
from .errors import RevisionNotFoundError as RevisionNotFoundError
from .errors import ScriptError as ScriptError
from .errors import UnknownDatabaseRevisionError as UnknownDatabaseRevisionError
from .extension import Migrate as Migrate

if t.TYPE_CHECKING:
    from alembic import command as command
    from alembic.config import Config as AlembicConfig  # noqa: F401
    from alembic.util import CommandError as CommandError

    from .autogenerate.drift import Difference as Difference
    from .autogenerate.scope import KeptTable as KeptTable
    from .commands import branches as branches
    from .commands import check as check
    from .commands import current as current
    from .commands import downgrade as downgrade
    from .commands import edit as edit
    from .commands import ensure_version as ensure_version
    from .commands import heads as heads
    from .commands import history as history
    from .commands import init as init
    from .commands import list_templates as list_templates
    from .commands import merge as merge
    from .commands import migrate as migrate
    from .commands import plan_downgrade as plan_downgrade
    from .commands import plan_upgrade as plan_upgrade
    from .commands import resolve as resolve
    from .commands import resume as resume
    from .commands import revision as revision
    from .commands import run_log as run_log
    from .commands import show as show
    from .commands import stamp as stamp
    from .commands import status as status
    from .commands import upgrade as upgrade
    from .commands.authoring import NewRevisions as NewRevisions
    from .commands.browsing import BranchPoints as BranchPoints
    from .commands.browsing import Revisions as Revisions
    from .commands.checking import CheckResult as CheckResult
    from .commands.checking import CurrentResult as CurrentResult
    from .commands.editing import EditedRevisions as EditedRevisions
    from .commands.reporting import DatabaseLog as DatabaseLog
    from .commands.reporting import LogResult as LogResult
    from .commands.resuming import ResolvedDatabase as ResolvedDatabase
    from .commands.resuming import ResolveResult as ResolveResult
    from .commands.setup import NewDirectory as NewDirectory
    from .commands.setup import Templates as Templates
    from .compat import alembic_version as alembic_version
    from .compat import catch_errors as catch_errors
    from .compat import Config as Config
    from .compat import log as log
    from .inspection.status import DatabaseStatus as DatabaseStatus
    from .inspection.status import StatusResult as StatusResult
    from .inspection.status import UnknownRevision as UnknownRevision
    from .runtime.edited import EditedRevision as EditedRevision
    from .runtime.half_applied import HalfApplied as HalfApplied
    from .runtime.half_applied import JournaledStatement as JournaledStatement
    from .runtime.log import LogEntry as LogEntry
    from .runtime.result import DatabaseResult as DatabaseResult
    from .runtime.result import Listener as Listener
    from .runtime.result import Loss as Loss
    from .runtime.result import MigrationResult as MigrationResult
    from .runtime.result import Retry as Retry
    from .runtime.result import StepResult as StepResult
    from .runtime.settings import RunOptions as RunOptions
    from .script.calls import Operation as Operation
    from .script.pending import PendingRevisions as PendingRevisions
    from .script.plan import DatabasePlan as DatabasePlan
    from .script.plan import MigrationPlan as MigrationPlan
    from .script.plan import PlannedStep as PlannedStep
    from .script.revisions import Revision as Revision
    from .signals import after_revision as after_revision
    from .signals import after_run as after_run
    from .signals import before_run as before_run

_homes = {
    "AlembicConfig": "alembic.config",
    "command": "alembic",
    "CommandError": "alembic.util",
    "Difference": ".autogenerate.drift",
    "KeptTable": ".autogenerate.scope",
    "EditedRevisions": ".commands.editing",
    "NewRevisions": ".commands.authoring",
    "BranchPoints": ".commands.browsing",
    "Revisions": ".commands.browsing",
    "CheckResult": ".commands.checking",
    "CurrentResult": ".commands.checking",
    "DatabaseLog": ".commands.reporting",
    "LogResult": ".commands.reporting",
    "ResolvedDatabase": ".commands.resuming",
    "ResolveResult": ".commands.resuming",
    "NewDirectory": ".commands.setup",
    "Templates": ".commands.setup",
    "alembic_version": ".compat",
    "catch_errors": ".compat",
    "Config": ".compat",
    "log": ".compat",
    "DatabaseStatus": ".inspection.status",
    "StatusResult": ".inspection.status",
    "UnknownRevision": ".inspection.status",
    "EditedRevision": ".runtime.edited",
    "HalfApplied": ".runtime.half_applied",
    "JournaledStatement": ".runtime.half_applied",
    "LogEntry": ".runtime.log",
    "DatabaseResult": ".runtime.result",
    "Listener": ".runtime.result",
    "Retry": ".runtime.result",
    "MigrationResult": ".runtime.result",
    "StepResult": ".runtime.result",
    "RunOptions": ".runtime.settings",
    "Loss": ".runtime.result",
    "Operation": ".script.calls",
    "PendingRevisions": ".script.pending",
    "DatabasePlan": ".script.plan",
    "MigrationPlan": ".script.plan",
    "PlannedStep": ".script.plan",
    "Revision": ".script.revisions",
    "after_revision": ".signals",
    "after_run": ".signals",
    "before_run": ".signals",
    "plan_downgrade": ".commands",
    "plan_upgrade": ".commands",
    **{name: ".commands" for names in _commands.FAMILIES.values() for name in names},
}

_other_names = {"AlembicConfig": "Config"}


def __getattr__(name: str) -> t.Any:
    if name not in _homes:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(_homes[name], __name__)
    return getattr(home, _other_names.get(name, name))


__all__ = ["Migrate", *_homes, *(name for name in globals() if name.endswith("Error"))]


def __dir__() -> list[str]:
    return sorted({*globals(), *_homes})
