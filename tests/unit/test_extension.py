"""``Migrate``: what it is given, and how applications and objects are kept apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import typing as t
import warnings

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
import pytest

import flask_dbmigrate
from flask_dbmigrate import ConfigurationError
from flask_dbmigrate import Migrate
from flask_dbmigrate import NoDatabaseError
from flask_dbmigrate import NotRegisteredError

DEFAULTS = {"compare_type": True, "render_as_batch": True}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def app(sqlite_url: str) -> Flask:
    """An application without anything on it."""
    app = Flask("application")
    app.config["SQLALCHEMY_DATABASE_URI"] = sqlite_url
    return app


def facts(app: Flask, command: str = "db") -> dict[str, t.Any]:
    """What is known about an application."""
    state = app.extensions["dbmigrate"][command]
    return {
        "db": state.given.db,
        "directory": state.directory,
        "command": state.command,
        "configure_args": state.configure_args,
    }


def test_constructor(app: Flask) -> None:
    """``Migrate(app, db)`` has the defaults of Flask-Migrate."""
    db = SQLAlchemy(app)
    Migrate(app, db)
    assert facts(app) == {
        "db": db,
        "directory": "migrations",
        "command": "db",
        "configure_args": DEFAULTS,
    }


@pytest.mark.parametrize("later", [False, True])
def test_every_parameter(app: Flask, later: bool) -> None:
    """The constructor and ``init_app`` take the same, by position as in Flask-Migrate."""
    db = SQLAlchemy(app)
    if later:
        Migrate().init_app(app, db, "there", "database", False, False, version_table="v")
    else:
        Migrate(app, db, "there", "database", False, False, version_table="v")
    assert facts(app, "database") == {
        "db": db,
        "directory": "there",
        "command": "database",
        "configure_args": {
            "version_table": "v",
            "compare_type": False,
            "render_as_batch": False,
        },
    }
    assert "database" in app.cli.commands
    assert "db" not in app.cli.commands


def test_init_app_comes_before_the_constructor(app: Flask) -> None:
    """What ``init_app`` gives counts, and the rest is as the constructor has it."""
    migrate = Migrate(directory="one", compare_type=False, version_table="v", include_schemas=True)
    migrate.init_app(app, directory=Path("two"), version_table="w")
    assert facts(app) == {
        "db": None,
        "directory": "two",
        "command": "db",
        "configure_args": {
            "compare_type": False,
            "render_as_batch": True,
            "version_table": "w",
            "include_schemas": True,
        },
    }


def test_one_migrate_on_two_applications() -> None:
    """One ``Migrate`` on two applications keeps their directories, databases, options apart."""
    migrate = Migrate(version_table="common")
    first, second = Flask("first"), Flask("second")
    migrate.init_app(first, "db of first", directory="one", compare_type=False)
    migrate.init_app(second, "db of second", command="database", version_table="own")
    assert facts(first) == {
        "db": "db of first",
        "directory": "one",
        "command": "db",
        "configure_args": {**DEFAULTS, "compare_type": False, "version_table": "common"},
    }
    assert facts(second, "database") == {
        "db": "db of second",
        "directory": "migrations",
        "command": "database",
        "configure_args": {**DEFAULTS, "version_table": "own"},
    }


def test_one_migrate_on_two_applications_runs_each(
    make_application: Callable[..., t.Any], tmp_path: Path
) -> None:
    """The second application does not change where the commands of the first look."""
    migrate = Migrate()
    apps = []
    for name in ("first", "second"):
        app = make_application(name, url=f"sqlite:///{tmp_path / name}.db", command="unused").app
        migrate.init_app(app, directory=f"{name}_migrations", command="mine")
        apps.append(app)
    for app in apps:
        with app.app_context():
            done = flask_dbmigrate.init(command="mine")
        assert done.path == f"{app.name}_migrations"
    for app in apps:
        result = app.test_cli_runner().invoke(args=["mine", "revision", "--rev-id", app.name])
        assert result.stdout == f"{app.name}_migrations/versions/{app.name}_.py\n"


def test_two_migrates_on_one_application(make_application: Callable[..., t.Any]) -> None:
    """Two ``Migrate``s under two names use their own directories, typed and from Python."""
    application = make_application(version_table="v1")
    Migrate(application.app, application.db, directory="second", command="db2", version_table="v2")
    with application.app.app_context():
        assert flask_dbmigrate.init().path == "migrations"
        assert flask_dbmigrate.init(command="db2").path == "second"
        flask_dbmigrate.revision(rev_id="aaa")
        flask_dbmigrate.revision(rev_id="bbb", command="db2")
        flask_dbmigrate.upgrade()
        flask_dbmigrate.upgrade(command="db2")
    runner = application.app.test_cli_runner()
    assert runner.invoke(args=["db", "current"]).stdout == "aaa (head)\n"
    assert runner.invoke(args=["db2", "current"]).stdout == "bbb (head)\n"
    assert runner.invoke(args=["db2", "upgrade", "--sql"]).stdout.count(" v2") > 0


def test_unknown_command_name(application: t.Any) -> None:
    """A command name that no ``Migrate`` has is refused, and those that exist are listed."""
    Migrate(application.app, command="db2")
    with (
        application.app.app_context(),
        pytest.raises(NotRegisteredError, match="no 'Migrate' with the command 'db3'") as caught,
    ):
        flask_dbmigrate.upgrade(command="db3")
    assert caught.value.hint == "Use one of these: 'db', 'db2'."


def test_same_command_twice(app: Flask) -> None:
    """Of two ``Migrate``s under one name the last wins, and a warning names both."""
    Migrate(app, "one", directory="first")
    with pytest.warns(UserWarning, match="Two 'Migrate' objects") as caught:
        Migrate(app, "two", directory="second")
    assert [str(warning.message) for warning in caught] == [
        "Two 'Migrate' objects are registered as 'flask db', with the directories 'first' and "
        "'second': the second one counts. Give one of them a 'command' of its own."
    ]
    assert caught[0].filename == __file__
    assert (facts(app)["db"], facts(app)["directory"]) == ("two", "second")


def test_same_command_twice_by_init_app(app: Flask) -> None:
    """The warning points at the caller of ``init_app``, too."""
    Migrate(app)
    with pytest.warns(UserWarning, match="Two 'Migrate' objects") as caught:
        Migrate().init_app(app)
    assert caught[0].filename == __file__


def test_init_app_again_completes(app: Flask) -> None:
    """``init_app`` called again on one application adds to what it knows, without a warning."""
    migrate = Migrate(app, directory="there", version_table="v")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        migrate.init_app(app, "the database", include_schemas=True)
    assert facts(app) == {
        "db": "the database",
        "directory": "there",
        "command": "db",
        "configure_args": {**DEFAULTS, "version_table": "v", "include_schemas": True},
    }


@pytest.mark.parametrize("order", ["before", "after"])
def test_database_of_the_application_is_found(app: Flask, order: str) -> None:
    """``Migrate(app)`` takes the Flask-SQLAlchemy of the application, whenever it is bound."""
    db = SQLAlchemy(app) if order == "before" else SQLAlchemy()
    Migrate(app)
    if order == "after":
        db.init_app(app)
    with app.app_context():
        flask_dbmigrate.init()
        assert [found.key for found in flask_dbmigrate.current().databases] == ["default"]
        db.engine.dispose()


def test_no_database(app: Flask) -> None:
    """Without a database every command that needs one says what to call."""
    Migrate(app)
    with app.app_context():
        flask_dbmigrate.init()
        with pytest.raises(NoDatabaseError, match="has no database") as caught:
            flask_dbmigrate.upgrade()
    assert caught.value.message == "'Migrate' of application 'application' has no database."
    assert caught.value.hint == (
        "Call 'Migrate(app, db)' or 'migrate.init_app(app, db)' with the 'SQLAlchemy' object of "
        "the application."
    )


def test_database_that_was_not_initialised(app: Flask) -> None:
    """A ``db`` without ``init_app`` is reported with what to call."""
    Migrate(app, SQLAlchemy())
    with app.app_context():
        flask_dbmigrate.init()
        with pytest.raises(NoDatabaseError, match="is not bound to this application") as caught:
            flask_dbmigrate.upgrade()
    assert caught.value.hint == "Call 'db.init_app(app)' with the same application."


FUNCTIONS: list[Callable[[], object]] = [
    flask_dbmigrate.init,
    flask_dbmigrate.revision,
    flask_dbmigrate.migrate,
    flask_dbmigrate.edit,
    flask_dbmigrate.merge,
    flask_dbmigrate.upgrade,
    flask_dbmigrate.downgrade,
    flask_dbmigrate.show,
    flask_dbmigrate.history,
    flask_dbmigrate.heads,
    flask_dbmigrate.branches,
    flask_dbmigrate.current,
    flask_dbmigrate.stamp,
    flask_dbmigrate.check,
    flask_dbmigrate.ensure_version,
    Migrate().get_config,
]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_application(function: Callable[[], object]) -> None:
    """Outside an application context every function asks for one."""
    with pytest.raises(NotRegisteredError, match="There is no current Flask app") as caught:
        function()
    assert caught.value.message == "There is no current Flask application."
    assert caught.value.hint == "Push one first: 'with app.app_context(): ...'."


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_extension(app: Flask, function: Callable[[], object]) -> None:
    """On an application without ``Migrate`` every function says what to call."""
    with (
        app.app_context(),
        pytest.raises(NotRegisteredError, match="Application 'application' has no") as caught,
    ):
        function()
    assert caught.value.message == "Application 'application' has no 'Migrate'."
    assert caught.value.hint == (
        "Call 'Migrate(app, db)', or 'migrate.init_app(app, db)' in its factory."
    )


def test_extension_is_what_old_code_reads(make_application: Callable[..., t.Any]) -> None:
    """``app.extensions['migrate']`` has the attributes that env.py files read."""
    application = make_application(directory="there", version_table="v")
    with application.app.app_context():
        found = application.app.extensions["migrate"]
        assert (found.directory, found.migrate) == ("there", application.migrate)
        assert found.configure_args == {**DEFAULTS, "version_table": "v"}
        assert found.metadata is application.db.metadata
        assert found.db.metadata is application.db.metadata
        assert found.db.session is application.db.session


@pytest.mark.parametrize(
    "call",
    [
        lambda db, app: db.get_engine(),
        lambda db, app: db.get_engine("reports"),
        lambda db, app: db.get_engine(app),
        lambda db, app: db.get_engine(app, "reports"),
        lambda db, app: db.get_engine(app, bind="reports"),
        lambda db, app: db.get_engine(app=app),
        lambda db, app: db.get_engine(app=app, bind="reports"),
        lambda db, app: db.get_engine(bind="reports"),
        lambda db, app: db.get_engine(bind_key="reports"),
        lambda db, app: db.engine,
        lambda db, app: db.engines["reports"],
    ],
)
def test_engines_for_old_code(
    make_application: Callable[..., t.Any], call: Callable[[t.Any, Flask], t.Any]
) -> None:
    """``get_engine`` answers in all its forms without a warning, and its URL has the password."""
    url = "postgresql+psycopg://user:p%40ss@localhost/"
    application = make_application(url=f"{url}one", binds={"reports": f"{url}two"})
    with application.app.app_context(), warnings.catch_warnings():
        warnings.simplefilter("error")
        engine = call(application.app.extensions["migrate"].db, application.app)
        key = "reports" if str(engine.url).endswith("two") else None
        real = application.db.engines[key]
        assert str(engine.url) == real.url.render_as_string(hide_password=False)
        assert (engine.url, engine.dialect, engine.pool) == (real.url, real.dialect, real.pool)
        assert "***" in str(real.url)


def test_configure_callbacks(application: t.Any) -> None:
    """Functions given to ``configure`` change the ``Config`` of every command, in order."""
    migrate: Migrate = application.migrate

    @migrate.configure
    def first(config: t.Any) -> t.Any:
        config.set_main_option("sqlalchemy.url", "sqlite:///first.db")
        return config

    @migrate.configure
    def second(config: t.Any) -> t.Any:
        config.attributes["seen"] = config.get_main_option("sqlalchemy.url")
        return config

    assert migrate.configure_callbacks == [first, second]
    with application.app.app_context():
        flask_dbmigrate.init()
        assert migrate.get_config().attributes["seen"] == "sqlite:///first.db"


def test_configure_callback_sets_version_locations(application: t.Any, tmp_path: Path) -> None:
    """A callback that sets ``version_locations`` decides where scripts are."""

    def elsewhere(config: t.Any) -> t.Any:
        config.set_main_option("version_locations", str(tmp_path / "elsewhere"))
        return config

    application.migrate.configure(elsewhere)
    with application.app.app_context():
        flask_dbmigrate.init()
        (written,) = flask_dbmigrate.revision(rev_id="aaa").revisions
    assert written.path == str(tmp_path / "elsewhere" / "aaa_.py")


def test_configure_callback_without_a_result(application: t.Any) -> None:
    """A callback that forgets its ``return`` is named."""

    def forgetful(config: t.Any) -> None:
        config.attributes["seen"] = True

    with application.app.app_context():
        flask_dbmigrate.init("other")
        application.migrate.configure(forgetful)
        with pytest.raises(ConfigurationError, match=r"'forgetful\(\)'.* returns nothing"):
            flask_dbmigrate.upgrade("other")
