"""``Migrate.get_config()``: an Alembic ``Config`` that Alembic's own functions can use."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
import typing as t

from alembic import command
from alembic.script import ScriptDirectory
from harness import Project
import pytest

import flask_dbmigrate
from flask_dbmigrate import Config


@pytest.fixture
def ready(application: t.Any, tmp_path: Path, sqlite_url: str) -> Iterator[Project]:
    """The folder of an application with one revision, its context pushed."""
    with application.app.app_context():
        flask_dbmigrate.init()
        project = Project(tmp_path, sqlite_url)
        project.revision("aaa", upgrade=["op.create_table('one', sa.Column('id', sa.Integer))"])
        yield project


def test_directory(application: t.Any, ready: Project) -> None:
    """The directory is the application's, or the one that is given."""
    flask_dbmigrate.init("other")
    migrate = application.migrate
    folder = ready.folder
    for given, name in ((None, "migrations"), ("other", "other"), (folder / "other", "other")):
        config = migrate.get_config(given)
        assert config.get_main_option("script_location") == str(folder / name)
        assert config.config_file_name == str(folder / name / "alembic.ini")


@pytest.mark.parametrize(
    ("x_arg", "expected"), [(None, []), ("a=1", ["a=1"]), (["a=1", "b=2"], ["a=1", "b=2"])]
)
def test_x_arg(application: t.Any, ready: Project, x_arg: t.Any, expected: list[str]) -> None:
    """``x_arg`` becomes the list ``cmd_opts.x``."""
    assert application.migrate.get_config(x_arg=x_arg).cmd_opts.x == expected


def test_opts(application: t.Any, ready: Project) -> None:
    """``opts`` are flags of ``cmd_opts``; ``autogenerate`` is always there."""
    assert application.migrate.get_config().cmd_opts.autogenerate is False
    options = application.migrate.get_config(opts=["autogenerate", "special"]).cmd_opts
    assert (options.autogenerate, options.special) == (True, True)


def test_positional_arguments(application: t.Any, ready: Project) -> None:
    """The parameters have Flask-Migrate's order: directory, x_arg, opts."""
    config = application.migrate.get_config("migrations", "a=1", ["special"])
    assert (config.cmd_opts.x, config.cmd_opts.special) == (["a=1"], True)


def test_with_script_directory(application: t.Any, ready: Project) -> None:
    """``ScriptDirectory.from_config`` reads the revisions."""
    scripts = ScriptDirectory.from_config(application.migrate.get_config())
    assert scripts.get_heads() == ["aaa"]


@pytest.mark.parametrize("folder", ["100%", "%(here)s", "50%%", "with space"])
def test_characters_of_a_directory(application: t.Any, ready: Project, folder: str) -> None:
    """A directory with ``%`` in its name works like any other."""
    flask_dbmigrate.init(folder)
    ready.revision("bbb", directory=folder)
    config = application.migrate.get_config(folder)
    assert ScriptDirectory.from_config(config).dir == str(ready.folder / folder)
    assert flask_dbmigrate.upgrade(folder).databases[0].after == ("bbb",)


def test_with_the_commands_of_alembic(application: t.Any, ready: Project) -> None:
    """``alembic.command`` upgrades, stamps and writes revisions with it."""
    migrate = application.migrate
    command.upgrade(migrate.get_config(), "head")
    assert ready.tables() == {"one"}
    command.stamp(migrate.get_config(), "base")
    assert ready.query("SELECT * FROM alembic_version") == []
    written = command.revision(migrate.get_config(), "more", rev_id="bbb")
    assert not isinstance(written, list)
    assert written is not None
    assert written.path == str(ready.folder / "migrations" / "versions" / "bbb_more.py")


def test_sql_with_the_commands_of_alembic(
    make_application: Callable[..., t.Any], ready: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """``alembic.command.upgrade(sql=True)`` has the options of ``Migrate``."""
    application = make_application("second", version_table="mine")
    with application.app.app_context():
        command.upgrade(application.migrate.get_config(), "head", sql=True)
    assert "CREATE TABLE mine" in capsys.readouterr().out


def test_plain_config() -> None:
    """``Config()`` works without a file, and finds the templates of this package."""
    package = Path(flask_dbmigrate.__file__).parent
    assert Config().get_template_directory() == str(package / "templates")
    assert Config(template_directory="mine").get_template_directory() == "mine"


def test_alembic_init_with_plain_config(tmp_path: Path) -> None:
    """``alembic.command.init`` finds our templates through ``Config``."""
    config = Config(str(tmp_path / "alembic.ini"), stdout=(tmp_path / "out").open("w"))
    with config.stdout:
        command.init(config, str(tmp_path / "there"), template="flask")
    assert "run_migrations()" in (tmp_path / "there" / "env.py").read_text()


def test_attributes_and_callbacks(application: t.Any, ready: Project) -> None:
    """Each call builds a new ``Config``: what one caller changes another does not see."""
    first = application.migrate.get_config()
    first.attributes["mine"] = True
    first.cmd_opts.x.append("mine")
    second = application.migrate.get_config()
    assert ("mine" in second.attributes, second.cmd_opts.x) == (False, [])
