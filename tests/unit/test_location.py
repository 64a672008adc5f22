"""Where the migration directory and the settings are looked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import typing as t

import pytest

import flask_dbmigrate
from flask_dbmigrate import ConfigurationError
from flask_dbmigrate import MigrationDirectoryError
from flask_dbmigrate import NewRevisions


@pytest.fixture
def elsewhere(application: t.Any, tmp_path: Path) -> Path:
    """A folder that is not the application's."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (tmp_path / "application").mkdir()
    return folder


def location(app: t.Any, directory: str | Path | None = None) -> str:
    """Where a new revision would be written."""
    with app.app_context():
        (written,) = flask_dbmigrate.revision(directory, rev_id="aaa").revisions
    return str(Path(written.path).parent.parent)


@pytest.mark.parametrize("beside", ["application", "."])
def test_directory_beside_the_application(
    application: t.Any,
    elsewhere: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    beside: str,
) -> None:
    """From another working directory it is found in the root path or beside it."""
    expected = tmp_path / beside / "migrations"
    with application.app.app_context():
        flask_dbmigrate.init(expected)
    monkeypatch.chdir(elsewhere)
    assert location(application.app) == str(expected)


def test_working_directory_comes_first(
    application: t.Any, elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The working directory comes before the application's folders."""
    monkeypatch.chdir(elsewhere)
    with application.app.app_context():
        flask_dbmigrate.init(tmp_path / "application" / "migrations")
        flask_dbmigrate.init()
    assert location(application.app) == str(elsewhere / "migrations")


def test_empty_folder_is_passed_over(
    application: t.Any, elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of that name that is no migration directory does not hide the real one."""
    with application.app.app_context():
        flask_dbmigrate.init()
    monkeypatch.chdir(elsewhere)
    (elsewhere / "migrations").mkdir()
    assert location(application.app) == str(tmp_path / "migrations")


def test_all_places_are_named(
    application: t.Any, elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the working directory, the root path and its parent, in this order."""
    monkeypatch.chdir(elsewhere)
    with (
        application.app.app_context(),
        pytest.raises(MigrationDirectoryError, match="There is no migration dir") as caught,
    ):
        flask_dbmigrate.history()
    assert caught.value.looked_in == (
        str(elsewhere / "migrations"),
        str(tmp_path / "application" / "migrations"),
        str(tmp_path / "migrations"),
    )


def test_absolute_directory(application: t.Any, tmp_path: Path) -> None:
    """An absolute directory is looked for in no other place."""
    missing = tmp_path / "deep" / "missing"
    with (
        application.app.app_context(),
        pytest.raises(MigrationDirectoryError, match="There is no migration dir") as caught,
    ):
        flask_dbmigrate.history(missing)
    assert caught.value.looked_in == (str(missing),)


def test_directory_of_an_argument_comes_first(make_application: Callable[..., t.Any]) -> None:
    """A directory given to a function comes before the one of ``Migrate``."""
    app = make_application(directory="mine").app
    with app.app_context():
        for name in ("mine", "other"):
            flask_dbmigrate.init(name)
    assert Path(location(app)).name == "mine"
    assert Path(location(app, "other")).name == "other"


TOML = '[tool.alembic]\nscript_location = "{location}"\nfile_template = "{template}"\n'


def pyproject(location: str = "%(here)s/alembic", template: str = "%%(rev)s") -> None:
    """Write settings for Alembic."""
    Path("pyproject.toml").write_text(TOML.format(location=location, template=template))


def written(app: t.Any) -> str:
    """The name of a new script, relative to the working directory."""
    with app.app_context():
        result: NewRevisions = flask_dbmigrate.revision(message="Some thing", rev_id="aaa")
    return str(result)


def test_file_template_of_pyproject(application: t.Any) -> None:
    """``[tool.alembic]`` gives settings; ``migrations/`` comes before its ``script_location``."""
    with application.app.app_context():
        flask_dbmigrate.init()
    pyproject(template="%%(slug)s_%%(rev)s")
    assert written(application.app) == "migrations/versions/some_thing_aaa.py"


def test_script_location_of_pyproject(application: t.Any) -> None:
    """``script_location`` counts where there is no ``migrations/``."""
    with application.app.app_context():
        flask_dbmigrate.init("alembic")
    Path("alembic/alembic.ini").unlink()
    pyproject()
    assert written(application.app) == "alembic/versions/aaa.py"


def test_directory_of_migrate_comes_before_pyproject(
    make_application: Callable[..., t.Any],
) -> None:
    """``script_location`` does not count where ``Migrate`` was given a directory."""
    app = make_application(directory="mine").app
    with app.app_context():
        flask_dbmigrate.init()
        flask_dbmigrate.init("alembic")
    pyproject()
    assert written(app) == "mine/versions/aaa.py"
    Path("mine").rename("yours")
    with (
        app.app_context(),
        pytest.raises(MigrationDirectoryError, match="There is no migration directory 'mine'"),
    ):
        flask_dbmigrate.history()


def test_directory_given_to_a_function_comes_before_pyproject(application: t.Any) -> None:
    """``script_location`` does not count where a function was given a directory."""
    with application.app.app_context():
        flask_dbmigrate.init("alembic")
        pyproject()
        with pytest.raises(MigrationDirectoryError, match="no migration directory 'mine'"):
            flask_dbmigrate.history("mine")


def test_alembic_ini_comes_before_pyproject(application: t.Any) -> None:
    """A setting that is in ``alembic.ini`` too is taken from there."""
    with application.app.app_context():
        flask_dbmigrate.init()
    pyproject(template="toml_%%(rev)s")
    ini = Path("migrations/alembic.ini")
    text = ini.read_text()
    ini.write_text(text.replace("[alembic]\n", "[alembic]\nfile_template = ini_%%(rev)s\n"))
    assert written(application.app) == "migrations/versions/ini_aaa.py"


def test_pyproject_beside_the_application(
    application: t.Any, elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without one in the working directory the application's ``pyproject.toml`` counts."""
    with application.app.app_context():
        flask_dbmigrate.init()
    pyproject(template="toml_%%(rev)s")
    monkeypatch.chdir(elsewhere)
    with application.app.app_context():
        (revision,) = flask_dbmigrate.revision(rev_id="aaa").revisions
    assert revision.path == str(tmp_path / "migrations" / "versions" / "toml_aaa.py")


def test_pyproject_without_alembic(application: t.Any) -> None:
    """A ``pyproject.toml`` without ``[tool.alembic]`` changes nothing."""
    Path("pyproject.toml").write_text('[project]\nname = "mine"\ndependencies = ["alembic"]\n')
    with application.app.app_context():
        flask_dbmigrate.init()
    assert written(application.app) == "migrations/versions/aaa_some_thing.py"


def test_broken_pyproject(application: t.Any) -> None:
    """A ``pyproject.toml`` that is no TOML is named."""
    Path("pyproject.toml").write_text("[tool.alembic\n")
    with (
        application.app.app_context(),
        pytest.raises(ConfigurationError, match=r"pyproject\.toml' is not valid TOML"),
    ):
        flask_dbmigrate.history()


def test_file_template_of_the_written_ini(application: t.Any) -> None:
    """The commented ``file_template`` of the written ini gives names in chronological order."""
    with application.app.app_context():
        flask_dbmigrate.init()
    ini = Path("migrations/alembic.ini")
    ini.write_text(ini.read_text().replace("# file_template", "file_template"))
    name = Path(written(application.app)).name
    date, time, *rest = name.split("_", 2)
    assert (len(date), len(time), rest) == (8, 4, ["aaa_some_thing.py"])
    assert (date + time).isdecimal()
