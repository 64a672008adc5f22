"""Results of the Python API as JSON, options that do not fit, and what a first argument is."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
import json
from pathlib import Path
import typing as t

from harness import Application
from harness import Project
import pytest

import flask_dbmigrate
from flask_dbmigrate import ConfigurationError
from flask_dbmigrate import DriftError
from flask_dbmigrate import MigrationDirectoryError

Start = Callable[..., Application]


class CeleryEncoder(json.JSONEncoder):
    """What kombu 5.3 and newer does with the result of a task, ``kombu/utils/json.py``."""

    def default(self, o: t.Any) -> t.Any:
        return o.__json__()


def test_results_as_json(start: Start, tmp_path: Path) -> None:
    """Each result has ``to_dict()``, which is what ``--json`` prints, and is a task's result."""
    application = start()
    Project(tmp_path, "sqlite://").revision(
        "aaa", upgrade=["op.create_table('one', sa.Column('id', sa.Integer))"]
    )
    results: list[t.Any] = [
        flask_dbmigrate.plan_upgrade(),
        flask_dbmigrate.upgrade(),
        flask_dbmigrate.current(),
        flask_dbmigrate.status(),
        flask_dbmigrate.run_log(),
        flask_dbmigrate.history(),
        flask_dbmigrate.heads(),
        flask_dbmigrate.show(),
        flask_dbmigrate.branches(),
        flask_dbmigrate.plan_downgrade(),
        flask_dbmigrate.stamp(),
        flask_dbmigrate.list_templates(),
        flask_dbmigrate.migrate(rev_id="bbb"),
        *application.migrate.pending(),
    ]
    for result in results:
        found = result.to_dict()
        assert json.loads(json.dumps(found)) == found
        assert json.loads(json.dumps(result, cls=CeleryEncoder)) == found
    runner = application.app.test_cli_runner()
    for arguments, result in [(["upgrade", "--plan"], 0), (["log"], 4), (["show"], 7)]:
        printed = runner.invoke(args=["db", *arguments[:1], "--json", *arguments[1:]]).stdout
        assert set(json.loads(printed)) == set(results[result].to_dict())
    assert json.loads(runner.invoke(args=["db", "log", "--json"]).stdout) == (
        flask_dbmigrate.run_log().to_dict()
    )


def test_what_errors_carry_as_json(start: Start, tmp_path: Path) -> None:
    """What an error carries has it, too."""
    start()
    with pytest.raises(DriftError) as caught:
        flask_dbmigrate.check()
    (found,) = caught.value.differences
    assert json.loads(json.dumps(found.to_dict()))["kind"] == "add_table"


WRONG: dict[str, tuple[t.Any, str]] = {
    "lock_timeout": ("abc", "a number of seconds, 0 or more"),
    "ddl_lock_timeout": (-1, "a number of seconds, 0 or more"),
    "ddl_retries": (1.5, "a whole number, 0 or more"),
    "statement_timeout": (Decimal(1), "a number of seconds, 0 or more"),
    "wait": (True, "a number of seconds, 0 or more"),
    "lock": ("no", "True or False"),
    "resume": (0, "True or False"),
    "single_transaction": ("yes", "True or False"),
    "two_phase": (1, "True or False"),
    "database": (5, "the key of a database, or several"),
    "output": (5, "the path of a folder"),
}


def test_all_options_are_tried() -> None:
    """The table of this module has every option."""
    assert set(WRONG) == set(flask_dbmigrate.RunOptions.__annotations__)


@pytest.mark.parametrize("option", WRONG)
def test_option_that_does_not_fit(start: Start, tmp_path: Path, option: str) -> None:
    """An option is checked as the setting of its name is, and nothing is run."""
    start()
    Project(tmp_path, "sqlite://").revision("aaa")
    value, expected = WRONG[option]
    options: dict[str, t.Any] = {option: value}
    commands = (flask_dbmigrate.upgrade, flask_dbmigrate.downgrade, flask_dbmigrate.stamp)
    for command in commands:
        with pytest.raises(ConfigurationError) as caught:
            command(sql=True, **options)
        assert caught.value.message == f"'{option}' is {value!r}, but it must be {expected}."
    assert flask_dbmigrate.status().databases[0].pending


def test_first_argument(start: Start, tmp_path: Path) -> None:
    """The first argument is the directory, as in Flask-Migrate: who gives a revision is told."""
    start()
    Project(tmp_path, "sqlite://").revision("two")
    with pytest.raises(MigrationDirectoryError, match="no migration directory 'two'") as caught:
        flask_dbmigrate.upgrade("two")
    assert caught.value.hint.endswith(
        "The first argument is the directory, as in Flask-Migrate. "
        """Name any other: 'upgrade(revision="two")'."""
    )
    assert flask_dbmigrate.upgrade(revision="two").databases[0].after == ("two",)


def test_directory_on_the_command_line(start: Start) -> None:
    """On the command line a directory is named as one."""
    result = start().app.test_cli_runner().invoke(args=["db", "upgrade", "-d", "two"])
    assert "The first argument" not in result.stderr
