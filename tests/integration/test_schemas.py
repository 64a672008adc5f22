"""``include_schemas``: models in several schemas."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import typing as t

from harness import ALL_OUR_TABLES
from harness import Application
from harness import differences
from harness import execute
import pytest
import servers
import sqlalchemy as sa

import flask_dbmigrate
from flask_dbmigrate import MigrationError

Start = t.Callable[..., Application]


class Schemas(t.NamedTuple):
    """A database with two more schemas, of which models are to name the first only.

    :param attach: What each new connection has to do.
    """

    url: str
    named: str
    other: str
    attach: tuple[str, ...] = ()

    def prepare(self, engine: sa.Engine) -> None:
        """Let the engine see the schemas, and make a table without model in each."""

        @sa.event.listens_for(engine, "connect")
        def attach(connection: t.Any, _: t.Any) -> None:
            for statement in self.attach:
                connection.execute(statement)

        with engine.begin() as connection:
            for schema in (self.named, self.other):
                connection.exec_driver_sql(f"CREATE TABLE {schema}.unknown (id INTEGER)")


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def schemas(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Schemas]:
    """A database with two more schemas, on each DBMS."""
    if request.param == "sqlite":
        attach = tuple(f"ATTACH '{tmp_path / name}.db' AS {name}" for name in ("sales", "other"))
        yield Schemas(request.getfixturevalue("sqlite_url"), "sales", "other", attach)
    elif request.param == "postgresql":
        url = request.getfixturevalue("postgresql_url")
        execute(url, "CREATE SCHEMA sales", "CREATE SCHEMA other")
        yield Schemas(url, "sales", "other")
    else:
        server: servers.MySQL = request.getfixturevalue("mysql_server")
        with (
            server.database("pymysql") as url,
            server.database("pymysql") as named,
            server.database("pymysql") as other,
        ):
            names = [str(sa.make_url(schema).database) for schema in (named, other)]
            yield Schemas(url, names[0], names[1])


def test_only_schemas_that_the_models_name(start: Start, schemas: Schemas) -> None:
    """With ``include_schemas``, a schema in which there is no model is left alone."""
    application = start(url=schemas.url, include_schemas=True)
    application.db.Table("item", sa.Column("id", sa.Integer), schema=schemas.named)
    schemas.prepare(application.db.engine)
    assert set(differences()) == {
        ("add_table", "user"),
        ("add_table", f"{schemas.named}.item"),
        ("remove_table", f"{schemas.named}.unknown"),
    }


def test_main_job_in_two_schemas(start: Start, schemas: Schemas) -> None:
    """Models in two schemas are written, created, compared and dropped."""
    application = start(url=schemas.url, include_schemas=True)
    application.db.Table(
        "item", sa.Column("id", sa.Integer, primary_key=True), schema=schemas.named
    )
    schemas.prepare(application.db.engine)
    flask_dbmigrate.migrate()
    flask_dbmigrate.upgrade()
    flask_dbmigrate.check()
    assert flask_dbmigrate.migrate().revisions == ()

    def tables(schema: str | None) -> set[str]:
        with application.db.engine.connect() as connection:
            return set(sa.inspect(connection).get_table_names(schema)) - ALL_OUR_TABLES

    everywhere = [None, schemas.named, schemas.other]
    assert list(map(tables, everywhere)) == [{"user"}, {"item"}, {"unknown"}]
    flask_dbmigrate.downgrade()
    assert list(map(tables, everywhere)) == [set(), {"unknown"}, {"unknown"}]


def test_several_metadata(start: Start, postgresql_url: str) -> None:
    """The models that name schemas may be in several MetaData, or a MetaData may name one."""
    start(url=postgresql_url, include_schemas=True)
    Path("migrations/env.py").write_text(
        "from flask_dbmigrate.env import run_migrations\n"
        "import sqlalchemy as sa\n"
        "models = [sa.MetaData(), sa.MetaData(schema='empty')]\n"
        "sa.Table('item', models[0], sa.Column('id', sa.Integer), schema='sales')\n"
        "run_migrations(target_metadata=models)\n"
    )
    for schema in ("sales", "empty", "other"):
        execute(
            postgresql_url, f"CREATE SCHEMA {schema}", f"CREATE TABLE {schema}.unknown (id INTEGER)"
        )
    assert differences() == [
        ("add_table", "sales.item"),
        ("remove_table", "empty.unknown"),
        ("remove_table", "sales.unknown"),
    ]


def test_option_of_env_py(start: Start, postgresql_url: str) -> None:
    """``include_schemas`` may be given to ``run_migrations()`` as well."""
    application = start(url=postgresql_url)
    application.db.Table("item", sa.Column("id", sa.Integer), schema="sales")
    execute(
        postgresql_url,
        "CREATE SCHEMA sales",
        "CREATE TABLE sales.item (id INTEGER)",
        'CREATE TABLE "user" (id SERIAL PRIMARY KEY, name VARCHAR(128))',
    )
    assert differences() == [("add_table", "sales.item")]
    env_py = Path("migrations/env.py")
    call = "\nrun_migrations()"
    env_py.write_text(env_py.read_text().replace(call, "\nrun_migrations(include_schemas=True)"))
    assert differences() == []


def test_schema_of_the_models_is_missing(start: Start, postgresql_url: str) -> None:
    """A table in a schema that nobody has created fails with the server's words."""
    application = start(url=postgresql_url, include_schemas=True)
    application.db.Table("item", sa.Column("id", sa.Integer), schema="sales")
    flask_dbmigrate.migrate(rev_id="aaa")
    with pytest.raises(MigrationError, match=r"'aaa' failed .*: schema .sales. does not exist"):
        flask_dbmigrate.upgrade()
