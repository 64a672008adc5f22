"""``check``: a sentence for each difference, and nothing written."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
import typing as t

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
import pytest
import servers
import sqlalchemy as sa

import flask_dbmigrate
from flask_dbmigrate import CheckResult
from flask_dbmigrate import DriftError
from flask_dbmigrate import Migrate

Tables = Callable[[sa.MetaData], object]


def table(*items: t.Any, **options: t.Any) -> Tables:
    """A database with one table ``thing``, besides its key."""

    def build(metadata: sa.MetaData) -> None:
        copied = [item() if callable(item) else item for item in items]
        sa.Table(
            "thing", metadata, sa.Column("id", sa.Integer, primary_key=True), *copied, **options
        )

    return build


def nothing(metadata: sa.MetaData) -> None:
    """A database without tables."""


def column(*args: t.Any, **options: t.Any) -> Callable[[], sa.Column[t.Any]]:
    """A column ``name``, new at each call."""
    return lambda: sa.Column("name", *(args or (sa.String(20),)), **options)


def two_tables(*extra: Callable[[], sa.schema.SchemaItem]) -> Tables:
    """A table ``owner`` and a table ``thing`` that may refer to it."""

    def build(metadata: sa.MetaData) -> None:
        sa.Table("owner", metadata, sa.Column("id", sa.Integer, primary_key=True))
        sa.Table(
            "thing",
            metadata,
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("owner_id", sa.Integer),
            *(item() for item in extra),
        )

    return build


def foreign_key() -> sa.schema.SchemaItem:
    """A named foreign key to ``owner``."""
    return sa.ForeignKeyConstraint(["owner_id"], ["owner.id"], name="fk_owner")


def index() -> sa.schema.SchemaItem:
    """An index on ``name``."""
    return sa.Index("ix_name", "name")


def unique() -> sa.schema.SchemaItem:
    """A unique constraint on ``name``."""
    return sa.UniqueConstraint("name", name="uq_name")


IN_MODELS = "is in the models but not in the database."
FOREIGN_KEY = "Foreign key 'fk_owner' on (owner_id) to (owner.id)"
IN_DATABASE = "is in the database but not in the models."

Expected = tuple[str, str | None, str | None, str]

EVERYWHERE: dict[str, tuple[Tables, Tables, list[Expected]]] = {
    "added table": (
        nothing,
        table(),
        [("add_table", "thing", None, f"Table 'thing' {IN_MODELS}")],
    ),
    "removed table": (
        table(),
        nothing,
        [("remove_table", "thing", None, f"Table 'thing' {IN_DATABASE}")],
    ),
    "added column": (
        table(),
        table(column()),
        [("add_column", "thing", "name", f"Column 'thing.name' (VARCHAR(20)) {IN_MODELS}")],
    ),
    "removed column": (
        table(column()),
        table(),
        [("remove_column", "thing", "name", f"Column 'thing.name' (VARCHAR(20)) {IN_DATABASE}")],
    ),
    "added index": (
        table(column()),
        table(column(), index),
        [("add_index", "thing", None, f"Index 'ix_name' on (name) of table 'thing' {IN_MODELS}")],
    ),
    "removed index": (
        table(column(), index),
        table(column()),
        [
            (
                "remove_index",
                "thing",
                None,
                f"Index 'ix_name' on (name) of table 'thing' {IN_DATABASE}",
            )
        ],
    ),
    "added unique constraint": (
        table(column()),
        table(column(), unique),
        [
            (
                "add_constraint",
                "thing",
                None,
                f"Unique constraint 'uq_name' on (name) of table 'thing' {IN_MODELS}",
            )
        ],
    ),
    "removed unique constraint": (
        table(column(), unique),
        table(column()),
        [
            (
                "remove_constraint",
                "thing",
                None,
                f"Unique constraint 'uq_name' on (name) of table 'thing' {IN_DATABASE}",
            )
        ],
    ),
    "added foreign key": (
        two_tables(),
        two_tables(foreign_key),
        [
            (
                "add_fk",
                "thing",
                None,
                f"{FOREIGN_KEY} of table 'thing' {IN_MODELS}",
            )
        ],
    ),
    "removed foreign key": (
        two_tables(foreign_key),
        two_tables(),
        [
            (
                "remove_fk",
                "thing",
                None,
                f"{FOREIGN_KEY} of table 'thing' {IN_DATABASE}",
            )
        ],
    ),
    "nullable": (
        table(column()),
        table(column(nullable=False)),
        [
            (
                "modify_nullable",
                "thing",
                "name",
                "Column 'thing.name' is nullable in the database and not nullable in the models.",
            )
        ],
    ),
    "type": (
        table(column()),
        table(column(sa.String(40))),
        [
            (
                "modify_type",
                "thing",
                "name",
                "Column 'thing.name' has the type 'VARCHAR(20)' in the database and 'VARCHAR(40)' "
                "in the models.",
            )
        ],
    ),
    "added default": (
        table(column()),
        table(column(server_default="new")),
        [
            (
                "modify_default",
                "thing",
                "name",
                "Column 'thing.name' has the default (none) in the database and 'new' in the "
                "models.",
            )
        ],
    ),
    "several": (
        table(column()),
        table(column(sa.String(40), nullable=False)),
        [
            (
                "modify_type",
                "thing",
                "name",
                "Column 'thing.name' has the type 'VARCHAR(20)' in the database and 'VARCHAR(40)' "
                "in the models.",
            ),
            (
                "modify_nullable",
                "thing",
                "name",
                "Column 'thing.name' is nullable in the database and not nullable in the models.",
            ),
        ],
    ),
}

POSTGRESQL: dict[str, tuple[Tables, Tables, list[Expected]]] = {
    "comment of a column": (
        table(column(comment="old")),
        table(column(comment="new")),
        [
            (
                "modify_comment",
                "thing",
                "name",
                "Column 'thing.name' has the comment 'old' in the database and 'new' in the "
                "models.",
            )
        ],
    ),
    "new comment of a column": (
        table(column()),
        table(column(comment="new")),
        [
            (
                "modify_comment",
                "thing",
                "name",
                "Column 'thing.name' has the comment (none) in the database and 'new' in the "
                "models.",
            )
        ],
    ),
    "comment of a table": (
        table(comment="old"),
        table(comment="new"),
        [
            (
                "add_table_comment",
                "thing",
                None,
                "The comment of table 'thing' is 'new' in the models.",
            )
        ],
    ),
    "removed comment of a table": (
        table(comment="old"),
        table(),
        [
            (
                "remove_table_comment",
                "thing",
                None,
                "The comment of table 'thing' is (none) in the models.",
            )
        ],
    ),
    "default": (
        table(column(server_default="old")),
        table(column(server_default="new")),
        [
            (
                "modify_default",
                "thing",
                "name",
                "Column 'thing.name' has the default ''old'::character varying' in the database "
                "and 'new' in the models.",
            )
        ],
    ),
}


def drifted(url: str, before: Tables, after: Tables) -> Flask:
    """An application whose models are not what is in its database."""
    engine = sa.create_engine(servers.synchronous(url), poolclass=sa.NullPool)
    metadata = sa.MetaData()
    before(metadata)
    metadata.create_all(engine)
    app = Flask("application")
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"poolclass": sa.NullPool}
    db = SQLAlchemy(app)
    after(db.metadata)
    Migrate(app, db, compare_server_default=True)
    return app


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def differences(app: Flask) -> list[Expected]:
    """What ``check()`` finds."""
    with app.app_context():
        flask_dbmigrate.init()
        with pytest.raises(DriftError, match="The models and the database differ") as caught:
            flask_dbmigrate.check()
    found = caught.value.differences
    assert {difference.database for difference in found} == {"default"}
    return [(item.kind, item.table, item.column, item.sentence) for item in found]


@pytest.mark.parametrize(("before", "after", "expected"), EVERYWHERE.values(), ids=EVERYWHERE)
def test_differences_on_sqlite(
    sqlite_url: str, before: Tables, after: Tables, expected: list[Expected]
) -> None:
    """Each difference is one sentence that names table and column."""
    assert differences(drifted(sqlite_url, before, after)) == expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [*EVERYWHERE.values(), *POSTGRESQL.values()],
    ids=[*EVERYWHERE, *POSTGRESQL],
)
def test_differences_on_postgresql(
    postgresql_url: str, before: Tables, after: Tables, expected: list[Expected]
) -> None:
    """PostgreSQL has the same sentences, and those about comments."""
    assert differences(drifted(postgresql_url, before, after)) == expected


def test_table_in_a_schema(postgresql_url: str) -> None:
    """A table in a schema is named with it."""

    def in_schema(metadata: sa.MetaData) -> None:
        sa.Table("thing", metadata, sa.Column("id", sa.Integer), schema="shop")

    app = drifted(postgresql_url, nothing, in_schema)
    assert differences(app) == [
        ("add_table", "shop.thing", None, f"Table 'shop.thing' {IN_MODELS}")
    ]


def test_expression_index(postgresql_url: str) -> None:
    """An index on an expression shows it."""

    def indexed(metadata: sa.MetaData) -> None:
        table(column())(metadata)
        sa.Index("ix_lower", sa.func.lower(metadata.tables["thing"].c.name))

    app = drifted(postgresql_url, table(column()), indexed)
    assert [(kind, sentence) for kind, _, _, sentence in differences(app)] == [
        ("add_index", f"Index 'ix_lower' on (lower(thing.name)) of table 'thing' {IN_MODELS}")
    ]


def test_nothing_to_find(sqlite_url: str) -> None:
    """``check()`` returns a value where models and database are the same."""
    app = drifted(sqlite_url, table(column()), table(column()))
    with app.app_context():
        flask_dbmigrate.init()
        result = flask_dbmigrate.check()
    assert result == CheckResult()
    assert str(result) == "No new upgrade operations detected."


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_command_exits_with_3(sqlite_url: str, options: list[str]) -> None:
    """The command prints the differences on stdout, their number on stderr, and exits with 3."""
    app = drifted(sqlite_url, nothing, table())
    runner = app.test_cli_runner()
    assert runner.invoke(args=["db", "init"]).exit_code == 0
    result = runner.invoke(args=["db", "check", *options])
    sentence = f"Table 'thing' {IN_MODELS}"
    assert result.exit_code == 3
    if options:
        assert json.loads(result.stdout) == {
            "differences": [
                {
                    "database": "default",
                    "kind": "add_table",
                    "table": "thing",
                    "column": None,
                    "sentence": sentence,
                }
            ]
        }
    else:
        assert result.stdout == sentence + "\n"
    assert result.stderr == (
        "Error: The models and the database differ: 1 difference.\n"
        "Write a revision with 'flask db migrate'.\n"
    )


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_command_without_differences(sqlite_url: str, options: list[str]) -> None:
    """The command says that there is nothing, and exits with 0."""
    runner = drifted(sqlite_url, table(), table()).test_cli_runner()
    runner.invoke(args=["db", "init"])
    result = runner.invoke(args=["db", "check", *options])
    assert (result.exit_code, result.stderr) == (0, "")
    if options:
        assert json.loads(result.stdout) == {"differences": []}
    else:
        assert result.stdout == "No new upgrade operations detected.\n"


@pytest.mark.parametrize(
    "command", [["check"], ["migrate"], ["current"], ["current", "-v"], ["history", "-i"]]
)
def test_looking_writes_nothing(database_url: str, command: list[str]) -> None:
    """What only looks writes nothing to a fresh database, not even the version table."""
    app = drifted(database_url, nothing, table())
    runner = app.test_cli_runner()
    runner.invoke(args=["db", "init"])
    runner.invoke(args=["db", *command])
    engine = sa.create_engine(servers.synchronous(database_url), poolclass=sa.NullPool)
    assert sa.inspect(engine).get_table_names() == []
