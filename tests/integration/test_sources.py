"""Where the databases come from, if not from Flask-SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import types
import typing as t

from alchemical.flask import Alchemical
from flask import Flask
from harness import ALL_OUR_TABLES
from harness import OUR_TABLES
import pytest
import sqlalchemy as sa
from sqlmodel import Field
from sqlmodel import SQLModel

import flask_dbmigrate
from flask_dbmigrate import ConfigurationError
from flask_dbmigrate import DatabaseAccessError


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Flask:
    """An application without any database."""
    monkeypatch.chdir(tmp_path)
    return Flask("sources", root_path=str(tmp_path))


@pytest.fixture
def engine(sqlite_url: str) -> Iterator[sa.Engine]:
    """The engine of an SQLite database."""
    engine = sa.create_engine(sqlite_url)
    yield engine
    engine.dispose()


def thing(metadata: sa.MetaData) -> sa.MetaData:
    """Add a table to a MetaData."""
    sa.Table("thing", metadata, sa.Column("id", sa.Integer, primary_key=True))
    return metadata


def main_job() -> None:
    """Migrate, upgrade and check."""
    assert len(flask_dbmigrate.migrate(message="all").revisions) == 1
    flask_dbmigrate.upgrade()
    assert str(flask_dbmigrate.check()) == "No new upgrade operations detected."


def test_alchemical(app: Flask, tmp_path: Path) -> None:
    """Alchemical's object works, with its bind keys."""
    app.config["ALCHEMICAL_DATABASE_URL"] = f"sqlite:///{tmp_path / 'first.db'}"
    app.config["ALCHEMICAL_BINDS"] = {"two": f"sqlite:///{tmp_path / 'second.db'}"}
    db = Alchemical(app)

    class Thing(db.Model):  # type: ignore[name-defined,misc]
        id = sa.Column(sa.Integer, primary_key=True)

    class Item(db.Model):  # type: ignore[name-defined,misc]
        __bind_key__ = "two"
        id = sa.Column(sa.Integer, primary_key=True)

    flask_dbmigrate.Migrate(app, db)
    with app.app_context():
        flask_dbmigrate.init(multidb=True)
        main_job()
        tables = {}
        for key, found in db.engines.items():
            tables[key] = set(sa.inspect(found).get_table_names())
            found.dispose()
    assert tables == {None: {"thing"} | OUR_TABLES, "two": {"item"} | OUR_TABLES}


def test_object_with_engine_and_metadata(app: Flask, engine: sa.Engine) -> None:
    """An engine and the models are all that an object needs."""
    db = types.SimpleNamespace(engine=engine, metadata=thing(sa.MetaData()))
    flask_dbmigrate.Migrate(app, db)
    with app.app_context():
        flask_dbmigrate.init()
        main_job()
    assert "thing" in sa.inspect(engine).get_table_names()


def test_object_with_get_engine_and_metadatas(app: Flask, tmp_path: Path) -> None:
    """``get_engine()`` is asked for each key that has models."""
    urls = {key: f"sqlite:///{tmp_path / str(key)}.db" for key in (None, "two")}
    engines = {key: sa.create_engine(url, poolclass=sa.NullPool) for key, url in urls.items()}
    other = sa.MetaData()
    sa.Table("other", other, sa.Column("id", sa.Integer, primary_key=True))
    db = types.SimpleNamespace(
        get_engine=lambda key=None: engines[key],
        metadatas={None: thing(sa.MetaData()), "two": other},
    )
    flask_dbmigrate.Migrate(app, db)
    with app.app_context():
        flask_dbmigrate.init(multidb=True)
        main_job()
    assert "other" in sa.inspect(engines["two"]).get_table_names()


def unfit(kind: str, url: str) -> t.Any:
    """An object that lacks something."""
    return {
        "no engine": types.SimpleNamespace(metadata=sa.MetaData()),
        "no models": types.SimpleNamespace(engine=sa.create_engine(url)),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no engine", "has no SQLAlchemy engine in 'engine' or 'get_engine"),
        ("no models", "has no SQLAlchemy MetaData in 'metadata' or 'metadatas'"),
    ],
)
def test_object_that_does_not_fit(app: Flask, sqlite_url: str, kind: str, message: str) -> None:
    """An object that lacks an engine or the models is named, and what it lacks."""
    flask_dbmigrate.Migrate(app, unfit(kind, sqlite_url))
    with app.app_context():
        flask_dbmigrate.init()
        with pytest.raises(ConfigurationError, match=f"The 'SimpleNamespace' given .* {message}"):
            flask_dbmigrate.upgrade()


def test_remedy_names_the_engine(app: Flask) -> None:
    """Where no setting holds the URL, the hint does not name one."""
    engine = sa.create_engine("sqlite:////no/such/folder/test.db")
    flask_dbmigrate.Migrate(app, types.SimpleNamespace(engine=engine, metadata=sa.MetaData()))
    with app.app_context():
        flask_dbmigrate.init()
        with pytest.raises(DatabaseAccessError, match="cannot be used") as caught:
            flask_dbmigrate.upgrade()
    assert caught.value.hint == (
        "Create its folder and make it writable, or correct the URL of its engine."
    )


def test_plain_sqlalchemy_with_an_engine(app: Flask, engine: sa.Engine) -> None:
    """The models and an engine can be given to the extension itself."""
    flask_dbmigrate.Migrate(app, metadata=thing(sa.MetaData()), engine=engine)
    with app.app_context():
        flask_dbmigrate.init()
        main_job()
    assert set(sa.inspect(engine).get_table_names()) == {"thing"} | OUR_TABLES


def test_plain_sqlalchemy_with_a_url_and_several_metadata(app: Flask, engine: sa.Engine) -> None:
    """A URL will do, and one database may have several MetaData."""
    other = sa.MetaData()
    sa.Table("other", other, sa.Column("id", sa.Integer, primary_key=True))
    migrate = flask_dbmigrate.Migrate()
    migrate.init_app(app, metadata=[thing(sa.MetaData()), other], url=str(engine.url))
    with app.app_context():
        flask_dbmigrate.init()
        main_job()
    assert set(sa.inspect(engine).get_table_names()) == {"thing", "other"} | OUR_TABLES


def test_plain_sqlalchemy_with_several_databases(app: Flask, tmp_path: Path) -> None:
    """Mappings give the models and the engine of each bind key."""
    urls = {key: f"sqlite:///{tmp_path / key}.db" for key in ("default", "user-data")}
    other = sa.MetaData()
    sa.Table("other", other, sa.Column("id", sa.Integer, primary_key=True))
    metadata = {"default": thing(sa.MetaData()), "user-data": other}
    flask_dbmigrate.Migrate(app, metadata=metadata, engine=urls)
    with app.app_context():
        flask_dbmigrate.init(multidb=True)
        main_job()
        keys = [found.key for found in flask_dbmigrate.current().databases]
    tables = []
    for key in keys:
        engine = sa.create_engine(urls[key], poolclass=sa.NullPool)
        tables.append(set(sa.inspect(engine).get_table_names()) - ALL_OUR_TABLES)
    assert (keys, tables) == (["default", "user-data"], [{"thing"}, {"other"}])


def test_sqlmodel(app: Flask, engine: sa.Engine) -> None:
    """SQLModel's models work; the revision imports the column types that it names."""

    class Hero(SQLModel, table=True):
        id: int | None = Field(default=None, primary_key=True)
        name: str = Field(index=True, max_length=40)

    flask_dbmigrate.Migrate(app, metadata=SQLModel.metadata, engine=engine)
    with app.app_context():
        flask_dbmigrate.init()
        main_job()
        (written,) = flask_dbmigrate.history()
    assert "import sqlmodel.sql.sqltypes\n" in Path(written.path).read_text()
    assert "hero" in sa.inspect(engine).get_table_names()


class Shout(sa.types.TypeDecorator[str]):
    """A column type of a project's own."""

    impl = sa.String
    cache_ok = True


@pytest.mark.parametrize(
    ("options", "expected", "imported"),
    [
        ({}, f"{__name__}.Shout()", True),
        ({"user_module_prefix": "types."}, "types.Shout()", False),
        ({"render_item": lambda *_: False}, f"{__name__}.Shout()", True),
        (
            {"render_item": lambda kind, *_: "sa.Text()" if kind == "type" else False},
            "sa.Text()",
            False,
        ),
    ],
)
def test_imports_of_a_revision(
    app: Flask, engine: sa.Engine, options: dict[str, t.Any], expected: str, imported: bool
) -> None:
    """A type of the project's own is imported, unless the user says how it is written."""
    metadata = sa.MetaData()
    sa.Table("shop", metadata, sa.Column("name", Shout()))
    flask_dbmigrate.Migrate(app, metadata=metadata, engine=engine, **options)
    with app.app_context():
        flask_dbmigrate.init()
        template = Path("migrations/script.py.mako")
        template.write_text(f"{template.read_text()}\nimport {__name__} as types\n")
        (written,) = flask_dbmigrate.migrate().revisions
    source = Path(written.path).read_text()
    assert f"sa.Column('name', {expected}" in source
    assert (f"import {__name__}\n" in source) == imported


@pytest.mark.parametrize(
    "arguments",
    [
        {"url": "sqlite://"},
        {"metadata": sa.MetaData(), "url": "sqlite://", "engine": "sqlite://"},
        {"metadata": sa.MetaData(), "url": "sqlite://", "db": object()},
    ],
    ids=["no models", "two engines", "db as well"],
)
def test_plain_sqlalchemy_incomplete(app: Flask, arguments: dict[str, t.Any]) -> None:
    """An engine without models, or two engines, are refused at once."""
    with pytest.raises(ConfigurationError, match="takes either 'db', or 'metadata' and one of"):
        flask_dbmigrate.Migrate(app, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metadata": object(), "url": "sqlite://"}, "a 'object' where it needs a MetaData"),
        ({"metadata": [], "url": "sqlite://"}, "a 'list' where it needs a MetaData"),
        ({"metadata": sa.MetaData(), "engine": 7}, "a 'int' where it needs an Engine or a URL"),
        ({"metadata": sa.MetaData(), "engine": {"a": "sqlite://"}}, "have no key 'default'"),
    ],
)
def test_plain_sqlalchemy_that_does_not_fit(
    app: Flask, arguments: dict[str, t.Any], message: str
) -> None:
    """What is no engine or no MetaData is named."""
    flask_dbmigrate.Migrate(app, **arguments)
    with app.app_context():
        flask_dbmigrate.init()
        with pytest.raises(ConfigurationError, match=message):
            flask_dbmigrate.upgrade()
