"""The ``DBMIGRATE_*`` keys of an application's configuration."""

from __future__ import annotations

import typing as t

import pytest

from flask_dbmigrate import ConfigurationError
from flask_dbmigrate.config import read_settings
from flask_dbmigrate.config import Settings


def test_defaults() -> None:
    """Without any key, each setting has its default; keys of others are not ours to judge."""
    assert read_settings({"SQLALCHEMY_ECHO": "no"}) == Settings(
        drop_unknown_tables=True,
        edited="warn",
        lock=True,
        lock_timeout=600,
        log=True,
        protected=False,
        two_phase=False,
        url=None,
        wait=None,
    )


def test_values() -> None:
    """A key sets its setting."""
    given = {"DBMIGRATE_DROP_UNKNOWN_TABLES": False, "DBMIGRATE_TWO_PHASE": True}
    assert read_settings(given) == Settings(drop_unknown_tables=False, two_phase=True)


@pytest.mark.parametrize("value", ["no", 0, 1, None])
def test_wrong_type(value: t.Any) -> None:
    """A value that does not fit is shown with its key and with what is expected."""
    with pytest.raises(ConfigurationError, match="must be True or False") as caught:
        read_settings({"DBMIGRATE_TWO_PHASE": value})
    assert caught.value.message == (
        f"'DBMIGRATE_TWO_PHASE' is {value!r}, but it must be True or False."
    )


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("DBMIGRATE_DROP_UNKOWN_TABLE", "Did you mean 'DBMIGRATE_DROP_UNKNOWN_TABLES'?"),
        ("DBMIGRATE_TWOPHASE", "Did you mean 'DBMIGRATE_TWO_PHASE'?"),
        (
            "DBMIGRATE_COLOUR",
            "The settings are: 'DBMIGRATE_DDL_LOCK_TIMEOUT', 'DBMIGRATE_DDL_RETRIES', "
            "'DBMIGRATE_DROP_UNKNOWN_TABLES', 'DBMIGRATE_EDITED', 'DBMIGRATE_JOURNAL', "
            "'DBMIGRATE_LOCK', 'DBMIGRATE_LOCK_TIMEOUT', 'DBMIGRATE_LOG', 'DBMIGRATE_PROTECTED', "
            "'DBMIGRATE_RESUME', 'DBMIGRATE_SINGLE_TRANSACTION', 'DBMIGRATE_STATEMENT_TIMEOUT', "
            "'DBMIGRATE_TWO_PHASE', 'DBMIGRATE_URL', 'DBMIGRATE_WAIT'.",
        ),
    ],
)
def test_unknown_key(key: str, hint: str) -> None:
    """A key that does not exist is an error, which names the closest one."""
    with pytest.raises(ConfigurationError, match=f"There is no setting '{key}'") as caught:
        read_settings({key: True})
    assert caught.value.hint == hint
