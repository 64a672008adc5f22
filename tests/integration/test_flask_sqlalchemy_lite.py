"""Flask-SQLAlchemy-Lite: its engines, and models given to ``Migrate``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
import typing as t

from flask import Flask
from flask_sqlalchemy_lite import SQLAlchemy
from harness import ALL_OUR_TABLES
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import mapped_column

import flask_dbmigrate
from flask_dbmigrate import ConfigurationError
from flask_dbmigrate import DatabaseAccessError
from flask_dbmigrate import DatabaseUnavailableError
from flask_dbmigrate import NoDatabaseError


class Base(DeclarativeBase):
    """The models of the default database."""


class Thing(Base):
    __tablename__ = "thing"
    id: Mapped[int] = mapped_column(primary_key=True)


OTHER = sa.MetaData()
sa.Table("other", OTHER, sa.Column("id", sa.Integer, primary_key=True))


@contextmanager
def application(folder: Path, **config: t.Any) -> Iterator[tuple[Flask, SQLAlchemy]]:
    """An application with Flask-SQLAlchemy-Lite, its context pushed."""
    app = Flask("lite", root_path=str(folder))
    app.config.update(config)
    db = SQLAlchemy(app, require_default_engine=False)
    with app.app_context():
        yield app, db
        for engine in db.engines.values():
            engine.dispose()


@pytest.fixture(autouse=True)
def _in_new_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def tables(folder: Path, name: str) -> set[str]:
    """The tables of a database file."""
    engine = sa.create_engine(f"sqlite:///{folder / name}", poolclass=sa.NullPool)
    return set(sa.inspect(engine).get_table_names()) - ALL_OUR_TABLES


@pytest.mark.parametrize("setting", ["SQLALCHEMY_ENGINES", "SQLALCHEMY_ASYNC_ENGINES"])
@pytest.mark.parametrize("is_given", [True, False], ids=["db given", "db found"])
def test_main_job(tmp_path: Path, setting: str, is_given: bool) -> None:
    """Both kinds of engines work, whether ``db`` is given or found on the application."""
    driver = "sqlite+aiosqlite" if "ASYNC" in setting else "sqlite"
    engines = {setting: {"default": f"{driver}:///{tmp_path / 'one.db'}"}}
    with application(tmp_path, **engines) as (app, db):
        flask_dbmigrate.Migrate(app, db if is_given else None, metadata=Base.metadata)
        flask_dbmigrate.init()
        assert len(flask_dbmigrate.migrate(message="first").revisions) == 1
        flask_dbmigrate.upgrade()
        assert str(flask_dbmigrate.check()) == "No new upgrade operations detected."
        assert tables(tmp_path, "one.db") == {"thing"}
        flask_dbmigrate.downgrade()
        assert tables(tmp_path, "one.db") == set()


def test_several_databases_of_both_kinds(tmp_path: Path) -> None:
    """Engines of both kinds are migrated together, each with its own models."""
    with application(
        tmp_path,
        SQLALCHEMY_ENGINES={"default": f"sqlite:///{tmp_path / 'one.db'}"},
        SQLALCHEMY_ASYNC_ENGINES={
            "default": f"sqlite+aiosqlite:///{tmp_path / 'one.db'}",
            "two": f"sqlite+aiosqlite:///{tmp_path / 'two.db'}",
        },
    ) as (app, db):
        flask_dbmigrate.Migrate(app, db, metadata={"default": Base.metadata, "two": OTHER})
        flask_dbmigrate.init(multidb=True)
        flask_dbmigrate.migrate(message="first")
        done = flask_dbmigrate.upgrade()
        flask_dbmigrate.check()
    assert [found.key for found in done.databases] == ["default", "two"]
    assert [found.url.partition(":")[0] for found in done.databases] == [
        "sqlite",
        "sqlite+aiosqlite",
    ]
    assert (tables(tmp_path, "one.db"), tables(tmp_path, "two.db")) == ({"thing"}, {"other"})


@pytest.mark.parametrize(
    ("config", "arguments", "error", "message"),
    [
        (
            {"SQLALCHEMY_ENGINES": {"default": "sqlite:///a.db"}},
            {},
            ConfigurationError,
            "Flask-SQLAlchemy-Lite has no models, and 'Migrate' was given none",
        ),
        (
            {"SQLALCHEMY_ENGINES": {"other": "sqlite:///a.db"}},
            {"metadata": Base.metadata},
            NoDatabaseError,
            "no engine called 'default'",
        ),
        (
            {"SQLALCHEMY_ENGINES": {"default": "sqlite:///a.db"}},
            {"metadata": {"default": Base.metadata, "tow": OTHER}},
            ConfigurationError,
            "given models for the database 'tow', which the application has not",
        ),
        (
            {"SQLALCHEMY_ENGINES": {"default": "sqlite:///a.db"}},
            {"metadata": Base},
            ConfigurationError,
            "was given a 'DeclarativeAttributeIntercept' where it needs a MetaData",
        ),
        (
            {
                "SQLALCHEMY_ENGINES": {"default": "postgresql+psycopg://me:secret@here/one"},
                "SQLALCHEMY_ASYNC_ENGINES": {"default": "postgresql+asyncpg://me:secret@there/one"},
            },
            {"metadata": Base.metadata},
            ConfigurationError,
            r"engines called 'default' are of two databases: '.*:\*\*\*@here/one' and '.*@there",
        ),
    ],
    ids=["no models", "no default", "unknown key", "no MetaData", "two databases"],
)
def test_what_does_not_fit(
    tmp_path: Path,
    config: dict[str, t.Any],
    arguments: dict[str, t.Any],
    error: type[ConfigurationError],
    message: str,
) -> None:
    """What is missing or does not fit together is named."""
    with application(tmp_path, **config) as (app, db):
        flask_dbmigrate.Migrate(app, db, **arguments)
        flask_dbmigrate.init()
        with pytest.raises(error, match=message):
            flask_dbmigrate.upgrade()


def test_object_of_another_application(tmp_path: Path) -> None:
    """An object that was never bound to the application is refused."""
    app = Flask("lite", root_path=str(tmp_path))
    flask_dbmigrate.Migrate(app, SQLAlchemy(), metadata=Base.metadata)
    with app.app_context():
        flask_dbmigrate.init()
        with pytest.raises(NoDatabaseError, match="is not bound to this application"):
            flask_dbmigrate.upgrade()


@pytest.mark.parametrize(
    ("setting", "url"),
    [
        ("SQLALCHEMY_ENGINES", "sqlite:////no/such/folder/one.db"),
        ("SQLALCHEMY_ASYNC_ENGINES", "sqlite+aiosqlite:////no/such/folder/one.db"),
        ("SQLALCHEMY_ASYNC_ENGINES", "postgresql+asyncpg://me:secret@127.0.0.1:1/one"),
    ],
)
def test_remedy_names_the_setting(tmp_path: Path, setting: str, url: str) -> None:
    """The remedy for a database that cannot be reached names the setting its URL comes from."""
    with application(tmp_path, **{setting: {"default": url}}) as (app, db):
        flask_dbmigrate.Migrate(app, db, metadata=Base.metadata)
        flask_dbmigrate.init()
        errors = (DatabaseUnavailableError, DatabaseAccessError)
        with pytest.raises(errors, match=r"cannot be (reached|used)") as caught:
            flask_dbmigrate.upgrade()
    assert f"correct '{setting}'" in caught.value.hint
    assert "secret" not in str(caught.value)
