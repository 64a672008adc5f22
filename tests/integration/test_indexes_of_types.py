"""Indexes that come with the type of a column, as GeoAlchemy's do, are created once."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
import typing as t

from harness import Application
from harness import Project
import pytest
import sqlalchemy as sa

import flask_dbmigrate


class Geometry(sa.types.UserDefinedType[str]):
    """A type that has its column indexed, in whatever table that is."""

    cache_ok = True

    def get_col_spec(self, **_: t.Any) -> str:
        return "VARCHAR(20)"


@pytest.fixture(autouse=True)
def _spatial_indexes() -> Iterator[None]:
    def add_index(column: sa.Column[t.Any], table: sa.Table) -> None:
        if isinstance(column.type, Geometry):
            table.append_constraint(sa.Index(f"idx_{table.name}_{column.name}", column))

    sa.event.listen(sa.Column, "after_parent_attach", add_index)
    yield
    sa.event.remove(sa.Column, "after_parent_attach", add_index)


@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize("fixture", ["sqlite_url", "postgresql_url", "mysql_url"])
def test_index_of_a_type(
    request: pytest.FixtureRequest,
    start: Callable[..., Application],
    fixture: str,
    batch: bool,
) -> None:
    """One that a table or a column brings along is not created again; others are created."""
    url = request.getfixturevalue(fixture)
    application = start(url=url, render_as_batch=batch)
    table = application.db.Table(
        "lake",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("shore", Geometry()),
        sa.Column("name", sa.String(20), index=True),
    )
    first = Path(flask_dbmigrate.migrate().revisions[0].path).read_text()
    assert ("create_index('idx_lake_shore'" in first, "ix_lake_name" in first) == (False, True)
    flask_dbmigrate.upgrade()
    flask_dbmigrate.check()
    table.append_column(sa.Column("centre", Geometry()))
    flask_dbmigrate.migrate()
    flask_dbmigrate.upgrade()
    flask_dbmigrate.check()
    assert indexes(url) == {"idx_lake_shore", "idx_lake_centre", "ix_lake_name"}
    application.db.metadata.remove(table)
    flask_dbmigrate.migrate()
    flask_dbmigrate.upgrade()
    flask_dbmigrate.downgrade()
    assert indexes(url) == {"idx_lake_shore", "idx_lake_centre", "ix_lake_name"}
    flask_dbmigrate.downgrade(revision="base")
    assert Project(Path(), url).tables() == set()


def indexes(url: str) -> set[str | None]:
    """The indexes of the table."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    return {index["name"] for index in sa.inspect(engine).get_indexes("lake")}
