"""Several ``Migrate`` objects on one application, on one database and on two."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

from flask import Flask
import pytest
import servers
import sqlalchemy as sa

import flask_dbmigrate

COMMANDS = ("db", "db2")


@pytest.fixture(params=["sqlite", "postgresql"])
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Two new databases, once for each kind of server."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'first.db'}", f"sqlite:///{tmp_path / 'second.db'}"
        return
    server: servers.PostgreSQL = request.getfixturevalue("postgresql_server")
    with server.database("psycopg") as first, server.database("psycopg") as second:
        yield first, second


class Several:
    """An application with two ``Migrate`` objects: a shop's, and a blog's as ``flask db2``.

    :param first: The database of the shop.
    :param second: The database of the blog.
    """

    def __init__(self, folder: Path, first: str, second: str) -> None:
        self.app = Flask("several", root_path=str(folder))
        self.engines = [sa.create_engine(url, poolclass=sa.NullPool) for url in (first, second)]
        for command, directory, table, engine in (
            ("db", "shop", "customer", self.engines[0]),
            ("db2", "blog", "post", self.engines[1]),
        ):
            metadata = sa.MetaData()
            sa.Table(table, metadata, sa.Column("id", sa.Integer, primary_key=True))
            flask_dbmigrate.Migrate(
                self.app,
                metadata=metadata,
                engine=engine,
                directory=directory,
                command=command,
                version_table=f"{directory}_version",
            )

    def flask(self, command: str, name: str) -> str:
        """Run a command of one of the groups, expect success, and return what it prints."""
        result = self.app.test_cli_runner().invoke(args=[command, name])
        assert result.exit_code == 0, result.output
        return result.stdout.strip()

    def python(self, command: str, name: str) -> str:
        """Call a function for one of the groups, and return what the command would print."""
        with self.app.app_context():
            result = getattr(flask_dbmigrate, name)(command=command)
        return str(result)

    def tables(self) -> set[str]:
        """The tables of all databases, the logs left out."""
        names = {name for engine in self.engines for name in sa.inspect(engine).get_table_names()}
        return {name for name in names if not name.endswith("_log")}


Call = Callable[[Several, str, str], str]


@pytest.fixture(params=[Several.flask, Several.python], ids=["flask", "python"])
def call(request: pytest.FixtureRequest) -> Call:
    """How a command is run: on the command line, and from Python."""
    function: Call = request.param
    return function


@pytest.fixture
def several(
    databases: int, urls: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Several:
    """The application on one database or on two, with a migration directory for each."""
    monkeypatch.chdir(tmp_path)
    several = Several(tmp_path, urls[0], urls[databases - 1])
    assert "shop/env.py" in several.flask("db", "init")
    assert "blog/env.py" in several.flask("db2", "init")
    return several


@pytest.mark.parametrize("databases", [1, 2])
def test_each_has_its_own(several: Several, call: Call) -> None:
    """Each writes and runs its own revisions, and keeps them in its own version table."""
    assert call(several, "db", "migrate").startswith("shop/versions/")
    assert call(several, "db2", "migrate").startswith("blog/versions/")
    call(several, "db", "upgrade")
    assert several.tables() == {"customer", "shop_version"}
    assert call(several, "db2", "current") == ""
    call(several, "db2", "upgrade")
    assert several.tables() == {"customer", "shop_version", "post", "blog_version"}
    for command in COMMANDS:
        (revision,) = call(several, command, "heads").splitlines()
        assert call(several, command, "current") == revision
    call(several, "db", "downgrade")
    assert several.tables() == {"shop_version", "post", "blog_version"}
    call(several, "db2", "downgrade")
    assert several.tables() == {"shop_version", "blog_version"}


@pytest.mark.parametrize("databases", [1, 2])
@pytest.mark.parametrize("command", COMMANDS)
def test_check_sees_its_own_models(several: Several, call: Call, command: str) -> None:
    """With both up to date, ``check`` of each finds no difference."""
    for name in ("migrate", "upgrade"):
        for each in COMMANDS:
            call(several, each, name)
    assert call(several, command, "check") == "No new upgrade operations detected."


@pytest.mark.parametrize("databases", [1, 2])
def test_migrate_leaves_the_other_alone(several: Several, call: Call) -> None:
    """Where one is up to date, ``migrate`` of the other does not drop its tables."""
    call(several, "db", "migrate")
    call(several, "db", "upgrade")
    call(several, "db2", "migrate")
    (script,) = Path("blog", "versions").glob("*.py")
    assert script.read_text().count("drop_table") == 1  # of the downgrade
    call(several, "db2", "upgrade")
    assert several.tables() == {"customer", "shop_version", "post", "blog_version"}
