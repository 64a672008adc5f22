"""What others say is quoted whatever it is: nothing, without end, or with a fault of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import re

from harness import Application
from harness import Project
import pytest
import servers

import flask_dbmigrate
from flask_dbmigrate import MigrationError
from flask_dbmigrate import signals
from flask_dbmigrate.dialects import facts_of

Start = Callable[..., Application]

each_backend = pytest.mark.parametrize("backend", ["sqlite", "postgresql", "mysql"])

LONG = {
    "of Python": "raise RuntimeError('word ' * 600_000)",
    "of Python, one word": "raise RuntimeError('x' * 3_000_000)",
    "of the statement": "op.execute('SELECT * FROM x' + 'x' * 3_000_000)",
    "of many words": "op.execute('SELECT * FROM ' + '\"x\", ' * 300_000)",
}


def run(start: Start, url: str, folder: Path, *lines: str) -> MigrationError:
    """Run a revision that fails after it has made a table."""
    start(url=url)
    Project(folder, url).revision("aaa", upgrade=lines)
    with pytest.raises(MigrationError) as caught:
        flask_dbmigrate.upgrade()
    return caught.value


@each_backend
@pytest.mark.parametrize("what", LONG)
def test_message_of_megabytes(
    start: Start, request: pytest.FixtureRequest, tmp_path: Path, backend: str, what: str
) -> None:
    """A message that nobody can read is shortened where it is shown, and in the log."""
    url: str = request.getfixturevalue(f"{backend}_url")
    message = run(start, url, tmp_path, LONG[what]).message
    assert message.startswith("Revision 'aaa' failed on database 'default' (")
    assert len(message) < 2000
    assert message.endswith(" The database is at base now.")
    assert " …" in message
    (entry,) = flask_dbmigrate.run_log().databases[0].entries
    assert entry.error == message


def test_error_of_the_user_that_is_long(start: Start, mysql_url: str, tmp_path: Path) -> None:
    """One of our errors that a revision raises stays as it is; its column has an end."""
    start(url=mysql_url)
    lines = ["from flask_dbmigrate import MigrationError", "raise MigrationError('ü' * 100_000)"]
    Project(tmp_path, mysql_url).revision("aaa", upgrade=lines)
    with pytest.raises(MigrationError, match=r"^ü{100000}$"):
        flask_dbmigrate.upgrade()
    (entry,) = flask_dbmigrate.run_log().databases[0].entries
    assert 1000 < len(entry.error) <= 16_000


def test_secret_at_the_end(start: Start, sqlite_url: str, tmp_path: Path) -> None:
    """What is cut off is cut off between words: no half of a password is left."""
    text = f"raise RuntimeError('x' * 980 + ' {servers.PASSWORD * 5}')"
    assert servers.PASSWORD[:4] not in run(start, sqlite_url, tmp_path, text).message


BROKEN = [
    "class Broken(Exception):",
    "    def __str__(self):",
    "        raise ValueError('no text')",
    "raise Broken",
]


def test_error_without_a_text(start: Start, sqlite_url: str, tmp_path: Path) -> None:
    """An error whose ``str()`` raises is named by its class, and is in the log."""
    message = run(start, sqlite_url, tmp_path, *BROKEN).message
    assert re.search(r", line \d+\): Broken\. The database is at base now\.$", message)
    (entry,) = flask_dbmigrate.run_log().databases[0].entries
    assert entry.error == message


def test_receiver_with_such_an_error(start: Start, tmp_path: Path) -> None:
    """The same in a receiver of a signal."""
    application = start()
    Project(tmp_path, "sqlite://").revision("aaa")

    class Broken(Exception):
        def __str__(self) -> str:
            raise ValueError("no text")

    def veto(sender: object, **facts: object) -> None:
        raise Broken

    with (
        signals.before_run.connected_to(veto, application.app),
        pytest.raises(MigrationError, match=r"'before_run' failed: Broken\. Nothing was run\.$"),
    ):
        flask_dbmigrate.upgrade()


CLOSING = [
    "op.get_bind().connection.driver_connection.close()",
    "op.execute('SELECT 1')",
]
CLOSED = ("psycopg", "psycopg2", "pg8000", "pymysql", "mysqlclient", "mysqlconnector")


@pytest.mark.parametrize("database_url", CLOSED, indirect=True)
def test_closed_connection(start: Start, database_url: str, tmp_path: Path) -> None:
    """A connection that the revision has closed is an error with words, with each driver."""
    error = run(start, database_url, tmp_path, *CLOSING)
    said = error.message.partition("): ")[2]
    assert re.match(r"[^.]*(connection|Connection|closed|descriptor)", said)


@each_backend
def test_error_that_says_nothing(backend: str) -> None:
    """A driver's error without words is named by its class."""
    assert facts_of(backend).message(TimeoutError()) == "TimeoutError"


BATCH = [
    "op.execute(\"INSERT INTO thing VALUES (1, 'no JSON')\")",
    "with op.batch_alter_table('thing') as batch:",
    "    batch.create_check_constraint('json', \"json_extract(name, '$.a') > 3\")",
]


@pytest.mark.parametrize("driver", servers.drivers_of("sqlite"))
def test_copy_of_a_batch_that_fails(
    start: Start,
    sqlite_url: str,
    tmp_path: Path,
    driver: str,
    require_driver: Callable[[str], None],
) -> None:
    """What Alembic executes after a copy has failed does not make it one of ``db.session``."""
    require_driver(driver)
    url = sqlite_url.replace("sqlite", servers.DRIVERS[driver], 1)
    create = "op.execute('CREATE TABLE thing (id INTEGER PRIMARY KEY, name VARCHAR(20))')"
    error = run(start, url, tmp_path, create, *BATCH)
    assert "malformed JSON. The statement was: INSERT INTO _alembic_tmp_thing" in error.message
    assert error.hint.startswith("Correct 'migrations/versions/aaa_.py'")
