"""How many statements PostgreSQL is sent: a remote one takes a round trip for each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
import typing as t

from alembic import command
from harness import Application
from harness import differences
from harness import LEGACY_ENV_PY
from harness import Project
import pytest
import sqlalchemy as sa

import flask_dbmigrate

Start = t.Callable[..., Application]
Schemas = tuple[str | None, ...]
LIMIT = 60


def make_tables(application: Application, count: int, schemas: Schemas) -> None:
    """Have this many models in each schema, and their tables in the database."""
    for schema in schemas:
        for number in range(count):
            sa.Table(
                f"Thing {number}",
                application.db.metadata,
                sa.Column("id", sa.Integer, primary_key=True),
                sa.Column("name", sa.String(20), server_default=f"name {number}"),
                sa.Column("is_new", sa.Boolean, server_default=sa.text("(TRUE OR FALSE)")),
                sa.Column("number", sa.Integer, sa.Identity()),
                sa.Index(f"ix_name_{number}", "name"),
                schema=schema,
                extend_existing=True,
            )
    with application.db.engine.begin() as connection:
        for schema in filter(None, schemas):
            connection.execute(sa.schema.CreateSchema(schema, if_not_exists=True))
        application.db.metadata.create_all(connection)


@contextmanager
def sent() -> Iterator[list[str]]:
    """Note the statements that all engines send."""
    statements: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        statements.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    yield statements
    sa.event.remove(sa.Engine, "before_cursor_execute", note)


def counts(application: Application, check: t.Callable[[], object], schemas: Schemas) -> list[int]:
    """Tell the number of statements for 20 tables, and for 60."""
    numbers = []
    for count in (20, 60):
        make_tables(application, count, schemas)
        check()  # what is sent once for an engine is not counted
        with sent() as statements:
            check()
        numbers.append(len(statements))
    return numbers


def find_nothing() -> None:
    """Run ``check`` where nothing differs."""
    assert differences() == []


@pytest.mark.parametrize("schemas", [(None,), (None, "sales", "Warehouse")])
def test_as_many_for_more_tables(start: Start, postgresql_url: str, schemas: Schemas) -> None:
    """There are as many statements for 60 tables as for 20, and not more than 60."""
    options = {"compare_server_default": True, "include_schemas": len(schemas) > 1}
    application = start(url=postgresql_url, **options)
    few, many = counts(application, find_nothing, schemas)
    assert few == many <= LIMIT


def test_old_env_py(start: Start, postgresql_url: str) -> None:
    """It is the same with an env.py that knows nothing of this package."""
    application = start(url=postgresql_url)
    Path("migrations/env.py").write_text(LEGACY_ENV_PY)
    few, many = counts(application, find_nothing, (None,))
    assert few == many <= LIMIT


def test_plain_alembic(start: Start, postgresql_url: str) -> None:
    """It is the same under Alembic's own command."""
    application = start(url=postgresql_url)
    config = application.migrate.get_config()
    few, many = counts(application, lambda: command.check(config), (None,))
    assert few == many <= LIMIT


def test_schema_in_the_search_path(start: Start, postgresql_url: str) -> None:
    """It is the same where PostgreSQL names the sequences of a schema without the schema."""
    application = start(
        url=f"{postgresql_url}?options=-csearch_path%3Dpublic,sales", include_schemas=True
    )
    few, many = counts(application, differences, ("sales",))  # Alembic finds some there
    assert few == many <= LIMIT


@pytest.mark.parametrize("legacy", [False, True])
def test_upgrade(start: Start, postgresql_url: str, tmp_path: Path, legacy: bool) -> None:
    """A revision of DDL and DML adds five statements, and a run without revisions sends five."""
    start(url=postgresql_url)
    if legacy:
        Path("migrations/env.py").write_text(LEGACY_ENV_PY)
    project = Project(tmp_path, postgresql_url)

    def upgraded() -> int:
        with sent() as statements:
            flask_dbmigrate.upgrade()
        return len(statements)

    parent = None
    numbers = []
    for count in (10, 20):
        for number in range(count):
            name = f"r{count}{number:02}"
            source = f"op.create_table('{name}', sa.Column('id', sa.Integer))"
            insert = f"op.execute('INSERT INTO {name} VALUES (1)')"
            project.revision(name, parent, upgrade=[source, insert])
            parent = name
        numbers.append(upgraded())
    few, many = numbers
    own = 2
    assert many - few <= 10 * (own + 5)
    assert upgraded() == 5
