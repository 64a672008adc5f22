"""A comparison that reads at once finds what Alembic finds table by table."""

from __future__ import annotations

from itertools import product
from pathlib import Path
import typing as t

from alembic.autogenerate import produce_migrations
from alembic.autogenerate import render_python_code
from alembic.runtime.migration import MigrationContext
import pytest
from schemas import RandomSchema
from schemas import SEQUENCES
import sqlalchemy as sa

from flask_dbmigrate.autogenerate.reading import read_at_once

SEEDS = range(10)

pytestmark = pytest.mark.filterwarnings(
    # SQLAlchemy does not find a foreign key of SQLite to a table with a quote in its name
    "ignore:WARNING. SQL-parsed foreign key"
)


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> t.Iterator[sa.Engine]:
    """An engine of a new database with the schema ``Sales``, where one can create it."""
    engine = sa.create_engine(request.getfixturevalue(f"{request.param}_url"))
    if request.param == "sqlite":

        @sa.event.listens_for(engine, "connect")
        def attach(connection: t.Any, _: object) -> None:
            connection.execute(f"ATTACH '{tmp_path / 'sales.db'}' AS \"Sales\"")

    yield engine
    engine.dispose()


def schemas_of(engine: sa.Engine) -> list[str | None]:
    """The schemas in which there are models."""
    return [None] if engine.name == "mysql" else [None, "Sales"]


def models(engine: sa.Engine, seed: int, variant: int = 0) -> sa.MetaData:
    """Make random models."""
    schema = RandomSchema(seed, variant, engine.name)
    for name in schemas_of(engine):
        schema.add(name)
    return schema.metadata


def create(engine: sa.Engine, metadata: sa.MetaData) -> None:
    """Create the tables, and on PostgreSQL what they need."""
    with engine.begin() as connection:
        if engine.name == "postgresql":
            connection.execute(sa.schema.CreateSchema("Sales"))
            for schema, name in product(schemas_of(engine), SEQUENCES):
                connection.execute(sa.schema.CreateSequence(sa.Sequence(name, schema=schema)))
        metadata.create_all(connection)
        if engine.name == "postgresql":
            owners = (table for table in metadata.sorted_tables if "counter" in table.columns)
            owner = next(table for table in owners if table.schema is None)
            column = connection.dialect.identifier_preparer.format_table(owner) + ".counter"
            connection.exec_driver_sql(f"ALTER SEQUENCE owned OWNED BY {column}")


def found(
    engine: sa.Engine,
    metadata: sa.MetaData,
    prepare: t.Callable[[MigrationContext], object],
    **options: t.Any,
) -> list[str]:
    """Compare, and write the differences as the code of a revision, line by line."""
    opts = {
        "target_metadata": metadata,
        "compare_server_default": True,
        "include_schemas": len(schemas_of(engine)) > 1,
        "include_name": lambda name, kind, _: kind != "schema" or name in (None, "Sales"),
        **options,
    }
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=opts)
        prepare(context)
        operations = produce_migrations(context, metadata).upgrade_ops
        assert operations is not None
        return sorted(render_python_code(operations, migration_context=context).splitlines())


@pytest.mark.parametrize("seed", SEEDS)
def test_same_differences(engine: sa.Engine, seed: int) -> None:
    """The differences of random models from random tables are those that Alembic finds."""
    create(engine, models(engine, seed))
    for variant in range(4):
        metadata = models(engine, seed, variant)
        expected = found(engine, metadata, lambda context: None)
        assert found(engine, metadata, read_at_once) == expected
        assert variant == 0 or any("op." in line for line in expected)


def test_sequence_with_an_apostrophe(postgresql_url: str) -> None:
    """A serial column of a table whose name has an apostrophe is none of the differences."""
    engine = sa.create_engine(postgresql_url)
    metadata = sa.MetaData()
    sa.Table("it's", metadata, sa.Column("id", sa.Integer, primary_key=True))
    metadata.create_all(engine)
    assert not any("op." in line for line in found(engine, metadata, read_at_once))
    engine.dispose()
