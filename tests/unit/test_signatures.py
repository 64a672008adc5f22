"""The Python API has Flask-Migrate's parameters, and values that do not change."""

from __future__ import annotations

import dataclasses
import inspect
from inspect import Parameter
import re
import typing as t

import pytest

import flask_dbmigrate
from flask_dbmigrate import errors
from flask_dbmigrate.data import Data

Default = tuple[str, t.Any]

# Flask-Migrate 4.1.0, flask_migrate/__init__.py
POSITIONAL: dict[str, list[Default]] = {
    "list_templates": [],
    "init": [("directory", None), ("multidb", False), ("template", None), ("package", False)],
    "revision": [
        ("directory", None),
        ("message", None),
        ("autogenerate", False),
        ("sql", False),
        ("head", "head"),
        ("splice", False),
        ("branch_label", None),
        ("version_path", None),
        ("rev_id", None),
    ],
    "migrate": [
        ("directory", None),
        ("message", None),
        ("sql", False),
        ("head", "head"),
        ("splice", False),
        ("branch_label", None),
        ("version_path", None),
        ("rev_id", None),
        ("x_arg", None),
    ],
    "edit": [("directory", None), ("revision", "current")],
    "merge": [
        ("directory", None),
        ("revisions", ""),
        ("message", None),
        ("branch_label", None),
        ("rev_id", None),
    ],
    "upgrade": [
        ("directory", None),
        ("revision", "head"),
        ("sql", False),
        ("tag", None),
        ("x_arg", None),
    ],
    "downgrade": [
        ("directory", None),
        ("revision", "-1"),
        ("sql", False),
        ("tag", None),
        ("x_arg", None),
    ],
    "show": [("directory", None), ("revision", "head")],
    "history": [
        ("directory", None),
        ("rev_range", None),
        ("verbose", False),
        ("indicate_current", False),
    ],
    "heads": [("directory", None), ("verbose", False), ("resolve_dependencies", False)],
    "branches": [("directory", None), ("verbose", False)],
    "current": [("directory", None), ("verbose", False)],
    "stamp": [
        ("directory", None),
        ("revision", "head"),
        ("sql", False),
        ("tag", None),
        ("purge", False),
    ],
    "check": [("directory", None)],
}

VALUES = [
    "CheckResult",
    "CurrentResult",
    "DatabaseLog",
    "DatabasePlan",
    "DatabaseResult",
    "DatabaseStatus",
    "Difference",
    "EditedRevision",
    "EditedRevisions",
    "LogEntry",
    "LogResult",
    "Loss",
    "MigrationPlan",
    "MigrationResult",
    "NewDirectory",
    "NewRevisions",
    "Operation",
    "PendingRevisions",
    "PlannedStep",
    "Revision",
    "Revisions",
    "StatusResult",
    "StepResult",
    "Templates",
    "UnknownRevision",
]


@pytest.mark.parametrize("name", POSITIONAL)
def test_positional_parameters_are_those_of_flask_migrate(name: str) -> None:
    """What Flask-Migrate's callers pass by position has the same name, order and default."""
    parameters = inspect.signature(getattr(flask_dbmigrate, name)).parameters.values()
    positional = [
        (parameter.name, parameter.default)
        for parameter in parameters
        if parameter.kind not in (Parameter.KEYWORD_ONLY, Parameter.VAR_KEYWORD)
    ]
    assert positional == POSITIONAL[name]


@pytest.mark.parametrize("name", [*POSITIONAL, "ensure_version", "run_log", "status"])
def test_every_parameter_is_optional(name: str) -> None:
    """A function of the API can be called without arguments, as its command can."""
    parameters = inspect.signature(getattr(flask_dbmigrate, name)).parameters.values()
    given = [found for found in parameters if found.kind is not Parameter.VAR_KEYWORD]
    assert [found.name for found in given if found.default is Parameter.empty] == []


@pytest.mark.parametrize("name", VALUES)
def test_results_are_frozen(name: str) -> None:
    """A value that the API returns cannot be changed."""
    value = getattr(flask_dbmigrate, name)
    assert dataclasses.is_dataclass(value)
    assert t.cast(t.Any, value).__dataclass_params__.frozen
    assert issubclass(t.cast(t.Any, value), Data)


def by_position(parameters: t.Iterable[Parameter]) -> list[tuple[str, t.Any]]:
    """Name and default of what callers of Flask-Migrate pass by position."""
    positional = Parameter.POSITIONAL_OR_KEYWORD
    return [(found.name, found.default) for found in parameters if found.kind is positional]


def test_constructor_has_the_parameters_of_flask_migrate() -> None:
    """``Migrate`` takes what Flask-Migrate's takes, in the same order."""
    parameters = list(inspect.signature(flask_dbmigrate.Migrate).parameters.values())
    assert by_position(parameters) == [
        ("app", None),
        ("db", None),
        ("directory", None),
        ("command", "db"),
        ("compare_type", True),
        ("render_as_batch", True),
    ]
    assert parameters[-1].kind is Parameter.VAR_KEYWORD


def test_init_app_has_the_parameters_of_flask_migrate() -> None:
    """``init_app`` takes what Flask-Migrate's takes, in the same order."""
    parameters = list(inspect.signature(flask_dbmigrate.Migrate.init_app).parameters.values())
    assert by_position(parameters[1:]) == [
        ("app", Parameter.empty),
        ("db", None),
        ("directory", None),
        ("command", None),
        ("compare_type", None),
        ("render_as_batch", None),
    ]
    assert parameters[-1].kind is Parameter.VAR_KEYWORD


@pytest.mark.parametrize(
    "name", [*POSITIONAL, *VALUES, "Config", "command", "alembic_version", "after_run"]
)
def test_public_names_are_listed(name: str) -> None:
    """``dir()`` lists a name although it is loaded on first use only."""
    assert name in dir(flask_dbmigrate)


def test_errors_are_exported() -> None:
    """``from flask_dbmigrate import *`` brings all errors, too."""
    found = {name for name in vars(errors) if name.endswith("Error")}
    assert found <= set(flask_dbmigrate.__all__)
    assert all(hasattr(flask_dbmigrate, name) for name in flask_dbmigrate.__all__)


def test_help_is_complete() -> None:
    """``help(upgrade)`` names each option, and an error for each reason why it can fail."""
    help_ = inspect.getdoc(flask_dbmigrate.upgrade) or ""
    options = re.findall(r":param (\w+):", help_)
    given = list(inspect.signature(flask_dbmigrate.upgrade).parameters)
    assert options == [*given[:-1], *flask_dbmigrate.RunOptions.__annotations__]
    raised = [getattr(errors, name) for name in re.findall(r":raises (\w+):", help_)]
    kinds = set(errors.DBMigrateError.__subclasses__())
    assert kinds == {kind for kind in kinds if any(issubclass(one, kind) for one in raised)}


def test_unknown_name_is_an_attribute_error() -> None:
    """A name that the package has not is reported as Python does it."""
    with pytest.raises(AttributeError, match=r"'flask_dbmigrate' has no attribute 'upgrad'"):
        flask_dbmigrate.__getattr__("upgrad")
