"""The error tree: attributes that survive pickling, and exit codes."""

from __future__ import annotations

from datetime import datetime
from datetime import UTC
import inspect
import pickle
import typing as t

import pytest

from flask_dbmigrate import Difference
from flask_dbmigrate import errors
from flask_dbmigrate import HalfApplied
from flask_dbmigrate import JournaledStatement
from flask_dbmigrate import Loss
from flask_dbmigrate import Operation

OPERATION = Operation("drop_table", "user", None, None, "drop table 'user'", "/a.py", 3)
DIFFERENCE = Difference("default", "add_table", "user", None, "Table 'user' is new.")

HALF_APPLIED = HalfApplied(
    database="default",
    revision="abc",
    direction="upgrade",
    since=datetime(2026, 11, 21, tzinfo=UTC),
    host="host",
    user="user",
    release="v1",
    statements=(JournaledStatement("done", "SELECT 1", 3),),
    obstacle="",
)

ATTRIBUTES: dict[str, dict[str, t.Any]] = {
    "DBMigrateError": {},
    "ConfigurationError": {},
    "NotRegisteredError": {},
    "NoDatabaseError": {},
    "MigrationDirectoryError": {"looked_in": ("/a", "/b")},
    "DatabaseAccessError": {"url": "postgresql://user:***@host/name"},
    "ReadOnlyDatabaseError": {"database": "default"},
    "RevisionError": {},
    "RevisionNotFoundError": {"revision": "abc", "matches": ("abcd",)},
    "AmbiguousRevisionError": {"revision": "abc", "matches": ("abcd", "abce")},
    "MultipleHeadsError": {"heads": ("one", "two")},
    "ScriptError": {"path": "/a.py", "line": 3},
    "UnknownDatabaseRevisionError": {"database": "default", "revision": "abc"},
    "MigrationError": {
        "database": "default",
        "revision": "abc",
        "path": "/a.py",
        "line": 3,
        "statement": "SELECT 1",
        "heads": ("one",),
    },
    "HalfAppliedError": {"database": "default", "half_applied": HALF_APPLIED},
    "CheckFailedError": {},
    "PendingRevisionsError": {"database": "default", "pending": ("one", "two")},
    "DriftError": {"differences": (DIFFERENCE,)},
    "DataLossError": {"losses": (Loss("default", OPERATION, True),)},
    "EditedRevisionError": {"database": "default", "edited": ("one", "two")},
    "DatabaseUnavailableError": {
        "url": "postgresql://user:***@host/name",
        "is_transient": True,
    },
    "LockNotAcquiredError": {"database": "default"},
}

EXIT_CODES = {
    "DBMigrateError": 1,
    "ConfigurationError": 2,
    "NotRegisteredError": 2,
    "NoDatabaseError": 2,
    "MigrationDirectoryError": 2,
    "DatabaseAccessError": 2,
    "ReadOnlyDatabaseError": 2,
    "RevisionError": 1,
    "RevisionNotFoundError": 1,
    "AmbiguousRevisionError": 1,
    "MultipleHeadsError": 1,
    "ScriptError": 1,
    "UnknownDatabaseRevisionError": 1,
    "MigrationError": 1,
    "HalfAppliedError": 4,
    "CheckFailedError": 3,
    "PendingRevisionsError": 3,
    "DriftError": 3,
    "DataLossError": 3,
    "EditedRevisionError": 3,
    "DatabaseUnavailableError": 69,
    "LockNotAcquiredError": 75,
}


def error_classes() -> dict[str, type[errors.DBMigrateError]]:
    """Find the classes of the tree."""
    found = inspect.getmembers(errors, inspect.isclass)
    return {name: found for name, found in found if issubclass(found, errors.DBMigrateError)}


def test_every_class_is_covered_here() -> None:
    """A class that is new in the tree has to be added to the tables of this module."""
    assert set(error_classes()) == set(ATTRIBUTES) == set(EXIT_CODES)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_errors_survive_pickling(name: str) -> None:
    """An error that crosses a process keeps its class, its message, its hint, its attributes."""
    error = error_classes()[name]("It broke.", hint="Mend it.", **ATTRIBUTES[name])
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == "It broke."
    assert vars(copy) == vars(error)
    assert {"message": "It broke.", "hint": "Mend it.", **ATTRIBUTES[name]}.items() <= vars(
        copy
    ).items()


@pytest.mark.parametrize(("name", "exit_code"), EXIT_CODES.items())
def test_exit_codes(name: str, exit_code: int) -> None:
    """A class of error has the exit code that the architecture gives it."""
    assert error_classes()[name].exit_code == exit_code


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_every_class_is_public(name: str) -> None:
    """A class of error can be caught by its name in the package."""
    import flask_dbmigrate

    assert getattr(flask_dbmigrate, name) is error_classes()[name]
