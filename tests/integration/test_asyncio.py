"""Applications whose engines are of asyncio: the same commands, the same env.py."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
import typing as t

from alchemical.aio import Alchemical
from alchemical.aio import Model
from alembic import command
from flask import Flask
from harness import ALL_OUR_TABLES
from harness import Project
import pytest
import servers
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.ext.asyncio import create_async_engine

import flask_dbmigrate
from flask_dbmigrate import ConfigurationError
from flask_dbmigrate import MigrationError

MODELS = sa.MetaData()
sa.Table("thing", MODELS, sa.Column("id", sa.Integer, primary_key=True))


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Flask:
    """An application without any database."""
    monkeypatch.chdir(tmp_path)
    return Flask("asyncio", root_path=str(tmp_path))


@pytest.fixture
def url(postgresql_server: servers.PostgreSQL) -> Iterator[str]:
    """A new PostgreSQL database, for asyncpg."""
    with postgresql_server.database("asyncpg") as url:
        yield url


def tables(url: str) -> set[str]:
    """The tables of a PostgreSQL database."""
    engine = sa.create_engine(url.replace("asyncpg", "psycopg"), poolclass=sa.NullPool)
    return set(sa.inspect(engine).get_table_names()) - ALL_OUR_TABLES


def main_job() -> None:
    """Migrate, upgrade, check, take back, upgrade."""
    assert len(flask_dbmigrate.migrate(rev_id="aaa").revisions) == 1
    flask_dbmigrate.upgrade()
    flask_dbmigrate.check()
    flask_dbmigrate.downgrade()
    assert flask_dbmigrate.upgrade().databases[0].after == ("aaa",)


@pytest.mark.parametrize("give", [create_async_engine, lambda url: url], ids=["engine", "URL"])
def test_plain_sqlalchemy(app: Flask, url: str, give: Callable[[str], t.Any]) -> None:
    """An asyncio engine, or the URL of one, is as good as any other."""
    flask_dbmigrate.Migrate(app, metadata=MODELS, engine=give(url))
    with app.app_context():
        flask_dbmigrate.init()
        main_job()
    assert tables(url) == {"thing"}


def test_alchemical(app: Flask, url: str) -> None:
    """An object whose ``get_engine()`` returns an asyncio engine works."""

    class Base(Model):  # type: ignore[misc]
        __abstract__ = True
        metadata = MODELS

    db = Alchemical(url, model_class=Base)

    flask_dbmigrate.Migrate(app, db)
    with app.app_context():
        flask_dbmigrate.init()
        main_job()
    assert tables(url) == {"thing"}


def test_flask_sqlalchemy(make_application: Callable[..., t.Any], url: str) -> None:
    """A URL of asyncio in ``SQLALCHEMY_DATABASE_URI`` works."""
    application = make_application(url=url)
    with application.app.app_context():
        flask_dbmigrate.init()
        main_job()
    assert tables(url) == {"user"}


LEGACY_ENV_PY = """
from alembic import context
from flask import current_app

db = current_app.extensions["migrate"].db
with db.get_engine().connect() as connection:
    context.configure(connection=connection, target_metadata=db.metadata)
    with context.begin_transaction():
        context.run_migrations()
"""


def test_legacy_env_py(app: Flask, url: str) -> None:
    """An env.py that knows nothing of asyncio works, too."""
    flask_dbmigrate.Migrate(app, metadata=MODELS, url=url)
    with app.app_context():
        flask_dbmigrate.init()
        Path("migrations/env.py").write_text(LEGACY_ENV_PY)
        main_job()
    assert tables(url) == {"thing"}


ENV_PY_WITH_ASYNCIO = """
import asyncio

from alembic import context
from flask import current_app

db = current_app.extensions["migrate"].db


def run(connection):
    context.configure(connection=connection, target_metadata=db.metadata)
    with context.begin_transaction():
        context.run_migrations()


async def online():
    engine = db.get_engine()
    async with engine.connect() as connection:
        await connection.run_sync(run)
    await engine.dispose()


asyncio.run(online())
"""


def test_env_py_with_an_event_loop(app: Flask, url: str) -> None:
    """An env.py that runs an event loop itself goes on doing so."""
    flask_dbmigrate.Migrate(app, metadata=MODELS, engine=create_async_engine(url))
    with app.app_context():
        flask_dbmigrate.init()
        Path("migrations/env.py").write_text(ENV_PY_WITH_ASYNCIO)
        main_job()
    assert tables(url) == {"thing"}


def test_alembic_itself(app: Flask, url: str) -> None:
    """``alembic.command`` works with the generated env.py."""
    migrate = flask_dbmigrate.Migrate(app, metadata=MODELS, url=url)
    with app.app_context():
        flask_dbmigrate.init()
        flask_dbmigrate.migrate()
        command.upgrade(migrate.get_config(), "head")
    assert tables(url) == {"thing"}


def test_failing_revision(app: Flask, url: str) -> None:
    """A failing revision is reported like any other, and nothing stays."""
    flask_dbmigrate.Migrate(app, metadata=MODELS, url=url)
    with app.app_context():
        flask_dbmigrate.init()
        path = Path(flask_dbmigrate.migrate(rev_id="aaa").revisions[0].path)
        table = 'op.create_table("thing",'
        source = path.read_text().replace(
            table, f'op.execute("CREATE TABLE more (id int)")\n    {table}'
        )
        path.write_text(
            source.replace("def downgrade", "    op.execute('SELECT 1/0')\n\ndef downgrade")
        )
        with pytest.raises(MigrationError, match="division by zero") as caught:
            flask_dbmigrate.upgrade()
    assert caught.value.message.endswith("SELECT 1/0. The database is at base now.")
    assert (caught.value.revision, caught.value.heads) == ("aaa", ())
    assert tables(url) == set()
    with app.app_context():
        (log,) = flask_dbmigrate.run_log().databases
    assert [(entry.revision, entry.status) for entry in log.entries] == [("aaa", "failed")]


async def things(engine: AsyncEngine) -> int:
    """Use the application's own engine in the application's own event loop."""
    async with engine.connect() as connection:
        return int(await connection.scalar(sa.text("SELECT count(*) FROM thing")))


def test_engine_in_use(app: Flask, url: str) -> None:
    """The application's pool is left alone: its connections belong to its event loop."""
    engine = create_async_engine(url)
    opened: list[object] = []
    flask_dbmigrate.Migrate(app, metadata=MODELS, engine=engine)

    @sa.event.listens_for(engine.sync_engine, "connect")
    def count(connection: object, record: object) -> None:
        opened.append(connection)

    async def main() -> None:
        async with engine.connect():
            pass  # leaves a connection in the pool
        flask_dbmigrate.init()
        await asyncio.to_thread(flask_dbmigrate.migrate)
        await asyncio.to_thread(flask_dbmigrate.upgrade)
        assert await things(engine) == 0
        await engine.dispose()

    with app.app_context():
        asyncio.run(main())
    assert len(opened) > 2, "listeners of the engine see the connections of a run"


OWN_LOOP = ENV_PY_WITH_ASYNCIO.replace(
    "db.get_engine()", "__import__('sqlalchemy.ext.asyncio').ext.asyncio.AsyncEngine(db.engine)"
)
WITHOUT_GREENLET = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "greenlet":
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)

sys.meta_path.insert(0, Missing())
"""


@pytest.mark.skipif(
    sa.__version__.startswith("2.0."), reason="brings greenlet, or makes no engine of asyncio"
)
@pytest.mark.parametrize("env_py", [None, OWN_LOOP], ids=["ours", "own loop"])
def test_without_greenlet(tmp_path: Path, env_py: str | None) -> None:
    """SQLAlchemy needs it for asyncio, and does not always bring it; nothing else does."""
    project = Project(tmp_path / "project", "sqlite:///test.db")
    project.db("init")
    project.revision("aaa")
    (project.folder / "sitecustomize.py").write_text(WITHOUT_GREENLET)
    env = {"PYTHONPATH": str(project.folder)}
    assert project.db("upgrade", env=env) == ""
    project.url = "sqlite+aiosqlite:///test.db"
    project.write_app()
    if env_py is not None:
        (project.folder / "migrations" / "env.py").write_text(env_py)
    for name in ("upgrade", "status"):
        what, remedy = project.fails(name, exit_code=2, env=env).splitlines()
        assert what.startswith(
            "Error: The database has an engine of asyncio, and the package 'gree"
        )
        assert remedy == "Install it: pip install greenlet"


def test_running_event_loop(app: Flask, url: str) -> None:
    """In a thread whose event loop is running the error says what to do instead."""
    flask_dbmigrate.Migrate(app, metadata=MODELS, url=url)

    async def main() -> None:
        flask_dbmigrate.upgrade()

    with app.app_context():
        flask_dbmigrate.init()
        with pytest.raises(ConfigurationError, match="event loop of this thread is running"):
            asyncio.run(main())
        with pytest.raises(ConfigurationError, match="event loop of this thread is running"):
            asyncio.run(main())  # and nothing is left locked
        assert flask_dbmigrate.current().databases[0].revisions == ()


def test_memory(app: Flask) -> None:
    """A database in memory is the application's own: it has one connection for all."""
    engine = create_async_engine("sqlite+aiosqlite://")
    flask_dbmigrate.Migrate(app, metadata=MODELS, engine=engine)
    with app.app_context():
        flask_dbmigrate.init()
        main_job()

    async def main() -> None:
        assert await things(engine) == 0
        await engine.dispose()

    asyncio.run(main())
