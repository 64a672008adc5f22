"""Where the migration directory and the settings are looked for."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
import sys
import typing as t
from zipfile import ZipFile

from alembic.script import ScriptDirectory
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


@pytest.fixture
def site(tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the packages ``shop`` and ``shop.db``; the working directory is another."""
    monkeypatch.chdir(elsewhere)
    site = tmp_path / "100%_site"
    package(site / "shop")
    package(site / "shop" / "db")
    monkeypatch.syspath_prepend(site)
    before = set(sys.modules)
    yield site
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("shop", "broken"):
            del sys.modules[name]


def package(folder: Path, source: str = "") -> Path:
    """Write a Python package."""
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(source)
    return folder


@pytest.mark.parametrize(
    ("directory", "folder"),
    [
        ("shop:migrations", "shop/migrations"),
        ("shop:sub/migrations", "shop/sub/migrations"),
        ("shop.db:migrations", "shop/db/migrations"),
        (Path("shop:migrations"), "shop/migrations"),
    ],
)
def test_directory_in_a_package(
    make_application: Callable[..., t.Any], site: Path, directory: str | Path, folder: str
) -> None:
    """``init`` writes into the package's folder, and new revisions go there too."""
    app = make_application(directory=directory).app
    with app.app_context():
        assert flask_dbmigrate.init().path == str(site / folder)
        assert app.extensions["migrate"].directory == str(directory)
    assert location(app) == str(site / folder)


def test_package_given_to_a_function(application: t.Any, site: Path) -> None:
    """A function takes a folder of a package, too, and all of the main job works there."""
    with application.app.app_context():
        flask_dbmigrate.init("shop:migrations")
        (revision,) = flask_dbmigrate.migrate("shop:migrations").revisions
        assert Path(revision.path).parent == site / "shop" / "migrations" / "versions"
        assert len(flask_dbmigrate.upgrade("shop:migrations").databases[0].steps) == 1
        assert str(flask_dbmigrate.check("shop:migrations")).startswith("No new upgrade")


def test_config_of_a_package(application: t.Any, site: Path) -> None:
    """Alembic's own functions get the folder as a path."""
    folder = site / "shop" / "migrations"
    with application.app.app_context():
        flask_dbmigrate.init("shop:migrations")
        config = application.migrate.get_config("shop:migrations")
    assert config.get_main_option("script_location") == str(folder)
    assert config.config_file_name == str(folder / "alembic.ini")
    assert ScriptDirectory.from_config(config).dir == str(folder)


def test_package_on_the_command_line(application: t.Any, site: Path) -> None:
    """``--directory`` takes a folder of a package, and the output shows where that is."""
    invoke = application.app.test_cli_runner().invoke
    init = invoke(args=["db", "init", "-d", "shop:migrations"])
    assert f"{site}/shop/migrations/env.py\n" in init.stdout
    revision = invoke(args=["db", "-d", "shop:migrations", "revision", "--rev-id", "aaa"])
    assert revision.stdout == f"{site}/shop/migrations/versions/aaa_.py\n"


def test_package_of_pyproject(application: t.Any, site: Path) -> None:
    """``script_location`` may name a folder of a package, for ``init`` too."""
    pyproject("shop:migrations")
    with application.app.app_context():
        flask_dbmigrate.init()
    assert location(application.app) == str(site / "shop" / "migrations")


def test_missing_folder_of_pyproject(application: t.Any, site: Path) -> None:
    """Where ``script_location`` names what is not there, the error is about that."""
    pyproject("shop:migrations")
    with (
        application.app.app_context(),
        pytest.raises(MigrationDirectoryError, match="no migration directory 'shop:migrations'"),
    ):
        flask_dbmigrate.history()


@pytest.mark.parametrize("script_location", ["5", '"50% off"', '"%(there)s/migrations"'])
def test_bad_script_location(application: t.Any, script_location: str) -> None:
    """A ``script_location`` that is no text, or has a stray ``%``, is named."""
    Path("pyproject.toml").write_text(f"[tool.alembic]\nscript_location = {script_location}\n")
    with (
        application.app.app_context(),
        pytest.raises(ConfigurationError, match=r"'script_location' in '.*' cannot be used: "),
    ):
        flask_dbmigrate.history()


@pytest.mark.parametrize("in_pyproject", [True, False])
def test_path_with_the_name_of_a_package(
    application: t.Any, site: Path, elsewhere: Path, in_pyproject: bool
) -> None:
    """A path that exists comes before the package that it seems to name."""
    with application.app.app_context():
        flask_dbmigrate.init("shop:migrations")
        Path("shop:migrations").mkdir()
        flask_dbmigrate.init("shop:migrations")
    if in_pyproject:
        pyproject("shop:migrations")
    given = None if in_pyproject else "shop:migrations"
    assert location(application.app, given) == str(elsewhere / "shop:migrations")


@pytest.mark.parametrize("name", ["C:\\migrations", "C:migrations", "shop:/migrations", "shop:"])
def test_path_with_a_colon(application: t.Any, site: Path, elsewhere: Path, name: str) -> None:
    """A drive letter is no package, and neither is a colon before an absolute path."""
    with (
        application.app.app_context(),
        pytest.raises(MigrationDirectoryError, match="There is no migration dir") as caught,
    ):
        flask_dbmigrate.history(name)
    assert caught.value.looked_in[0] == str(elsewhere / name)


@pytest.mark.parametrize(
    "setting",
    [
        'version_locations = ["%(here)s/one", "shop:migrations/versions"]',
        'version_locations = ["shop.db:versions", "shop:migrations/versions"]',
    ],
)
def test_version_locations_in_a_package(application: t.Any, site: Path, setting: str) -> None:
    """``version_locations`` with folders of packages work as under ``alembic``."""
    with application.app.app_context():
        flask_dbmigrate.init("shop:migrations")
        flask_dbmigrate.revision("shop:migrations", rev_id="aaa")
        Path("pyproject.toml").write_text(f"[tool.alembic]\n{setting}\n")
        flask_dbmigrate.revision(
            "shop:migrations", rev_id="bbb", version_path=site / "shop/migrations/versions"
        )
        found = flask_dbmigrate.history("shop:migrations").revisions
    assert [revision.revision for revision in found] == ["bbb", "aaa"]


def test_version_locations_in_no_package(application: t.Any, site: Path) -> None:
    """A package in ``version_locations`` that does not exist is a wrong setting."""
    with application.app.app_context():
        flask_dbmigrate.init("shop:migrations")
        (site / "shop" / "migrations" / "alembic.ini").unlink()
        setting = '[tool.alembic]\nversion_locations = ["nothing:versions"]\n'
        Path("pyproject.toml").write_text(setting)
        with pytest.raises(
            ConfigurationError, match=r"pyproject\.toml' cannot be used: No module named 'nothing'"
        ):
            flask_dbmigrate.history("shop:migrations")


def failure(app: t.Any, directory: str) -> tuple[str, str]:
    """The message and the hint of the error that a directory leads to."""
    with app.app_context(), pytest.raises(MigrationDirectoryError, match=directory) as caught:
        flask_dbmigrate.upgrade(directory)
    return caught.value.message, caught.value.hint


INSTALL = "Install the package, correct its name, or give the path of the directory."


@pytest.mark.parametrize(
    ("directory", "reason"),
    [
        ("nothing:migrations", "no module has this name"),
        ("nothing.db:migrations", "ModuleNotFoundError: No module named 'nothing'"),
        ("shop.nothing:migrations", "no module has this name"),
        (
            "shop.single.db:migrations",
            "ModuleNotFoundError: __path__ attribute not found on "
            "'shop.single' while trying to find 'shop.single.db'",
        ),
        ("shop.single:migrations", "'{site}/shop/single.py' is a module of one file"),
        ("broken.db:migrations", "ZeroDivisionError: division by zero"),
    ],
)
def test_no_such_package(application: t.Any, site: Path, directory: str, reason: str) -> None:
    """A package that cannot be found is named, with the reason."""
    (site / "shop" / "single.py").touch()
    package(site / "broken", "1 / 0")
    name = directory.partition(":")[0]
    message = f"The package '{name}' of the directory '{directory}' cannot be found: {reason}."
    expected = (message.format(site=site), INSTALL)
    assert failure(application.app, directory) == expected
    with (
        application.app.app_context(),
        pytest.raises(MigrationDirectoryError, match=f"The package '{name}' of the directory"),
    ):
        flask_dbmigrate.init(directory)


def test_package_is_not_imported(application: t.Any, site: Path) -> None:
    """A package is found without its code being run."""
    package(site / "broken", "1 / 0")
    with application.app.app_context():
        flask_dbmigrate.init("broken:migrations")
    assert location(application.app, "broken:migrations") == str(site / "broken" / "migrations")
    assert "broken" not in sys.modules


def test_package_in_an_archive(
    application: t.Any, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package in a zip archive is refused: revisions are files."""
    archive = site / "zipped.zip"
    with ZipFile(archive, "w") as zipped:
        zipped.writestr("zipped_shop/__init__.py", "")
        zipped.writestr("zipped_shop/migrations/env.py", "")
    monkeypatch.syspath_prepend(archive)
    assert failure(application.app, "zipped_shop:migrations") == (
        "The package 'zipped_shop' of the directory 'zipped_shop:migrations' is not one folder on "
        f"disk: it is in '{archive}/zipped_shop'.",
        "Install it unpacked, with an '__init__.py', or give the path of the directory.",
    )


def test_namespace_package(
    application: t.Any, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package without ``__init__.py`` will do as long as it is in one folder."""
    (site / "spaced").mkdir()
    with application.app.app_context():
        flask_dbmigrate.init("spaced:migrations")
    assert location(application.app, "spaced:migrations") == str(site / "spaced" / "migrations")
    (tmp_path / "more" / "spaced").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path / "more")
    message, _ = failure(application.app, "spaced:migrations")
    assert message.endswith(f"it is in '{tmp_path}/more/spaced', '{site}/spaced'.")


def test_folder_is_not_in_the_package(application: t.Any, site: Path) -> None:
    """A folder that is missing in a package was most likely left out of the wheel."""
    assert failure(application.app, "shop:migrations") == (
        f"There is no migration directory 'shop:migrations'; looked for '{site}/shop/migrations'.",
        "Create it with 'flask db init'; if the source of the package has it, the wheel was "
        "built without its data files.",
    )


def test_damaged_folder_in_a_package(application: t.Any, site: Path) -> None:
    """A folder of a package that has no env.py is no migration directory."""
    package(site / "shop" / "migrations")
    with (
        application.app.app_context(),
        pytest.raises(MigrationDirectoryError, match=r"shop/migrations' .* has no 'env\.py'"),
    ):
        flask_dbmigrate.upgrade("shop:migrations")
