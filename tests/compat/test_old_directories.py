"""Migration directories that Flask-Migrate has written since 2013, run by this package.

The templates come from the released distributions, which pip fetches when the tests run.
"""

from __future__ import annotations

from collections.abc import Iterator
import hashlib
from pathlib import Path
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from harness import ALL_OUR_TABLES
import pytest
import servers
import sqlalchemy as sa

import flask_dbmigrate

# Each of these releases changed a template; those between them did not.
VERSIONS = (
    *("0.1.1", "1.1.0", "1.4.0", "1.5.0", "1.5.1"),
    *("2.0.1", "2.0.4", "2.3.1", "2.4.0", "2.5.0", "2.5.3", "2.6.0", "2.7.0"),
    *("3.0.1", "3.1.0", "4.0.0", "4.0.1", "4.0.3", "4.0.4", "4.0.5"),
)
FIRST_WITH_BINDS = (1, 5, 0)
SETS = [(version, "flask") for version in VERSIONS] + [
    (version, "flask-multidb")
    for version in VERSIONS
    if tuple(map(int, version.split("."))) >= FIRST_WITH_BINDS
]

pytestmark = pytest.mark.filterwarnings("ignore")  # of old env.py files about new libraries


def download(version: str, folder: Path) -> Path:
    """Fetch a release and return the folder of its templates."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    subprocess.run([*command, "--dest", folder, f"Flask-Migrate=={version}"], check=True)
    (archive,) = folder.iterdir()
    if archive.name.endswith(".tar.gz"):
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    else:
        with zipfile.ZipFile(archive) as zipped:
            zipped.extractall(folder)
    (templates,) = folder.rglob("flask_migrate/templates")
    return templates


@pytest.fixture(scope="module")
def releases() -> Iterator[dict[str, Path]]:
    """The template folder of each release."""
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for version in VERSIONS:
            (target := Path(folder, version)).mkdir()
            found[version] = download(version, target)
        yield found


def test_sets_are_distinct(releases: dict[str, Path]) -> None:
    """The releases above have at least the 34 sets of templates that were ever different."""
    digests = set()
    for version, name in SETS:
        template = releases[version] / name
        content = [(path.name, path.read_bytes()) for path in sorted(template.iterdir())]
        digests.add((name, hashlib.sha256(repr(content).encode()).digest()))
    assert len(digests) >= 34


@pytest.fixture(params=["postgresql", "mysql", "sqlite"])
def urls(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """Two new databases, on servers with a password that needs quoting."""
    if request.param == "sqlite":
        folder = tmp_path_factory.mktemp("databases")
        yield f"sqlite:///{folder / 'one.db'}", f"sqlite:///{folder / 'two.db'}"
        return
    driver = {"postgresql": "psycopg", "mysql": "pymysql"}[request.param]
    server: servers.Server = request.getfixturevalue(f"{request.param}_server")
    with server.database(driver) as first, server.database(driver) as second:
        yield first, second


@pytest.mark.parametrize(("version", "name"), SETS)
def test_old_directory(
    version: str,
    name: str,
    releases: dict[str, Path],
    urls: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every command that matters runs on the directory, on all its databases."""
    monkeypatch.chdir(tmp_path)
    app = Flask("old", root_path=str(tmp_path))
    app.config["SQLALCHEMY_DATABASE_URI"] = urls[0]
    bind_keys = ["two"] if name == "flask-multidb" else []
    app.config["SQLALCHEMY_BINDS"] = dict.fromkeys(bind_keys, urls[1])
    db = SQLAlchemy(app)
    db.Table("user", sa.Column("id", sa.Integer, primary_key=True))
    for key in bind_keys:
        db.Table("item", sa.Column("id", sa.Integer, primary_key=True), bind_key=key)
    flask_dbmigrate.Migrate(app, db)
    write_directory(releases[version] / name, tmp_path / "migrations")

    def tables() -> list[set[str]]:
        inspectors = [sa.inspect(db.engines[key]) for key in [None, *bind_keys]]
        return [set(inspector.get_table_names()) - ALL_OUR_TABLES for inspector in inspectors]

    expected = [{"user"}, {"item"}][: 1 + len(bind_keys)]
    with app.app_context():
        try:
            (revision,) = flask_dbmigrate.migrate(message="one").revisions
            flask_dbmigrate.upgrade()
            assert tables() == expected
            assert flask_dbmigrate.migrate().revisions == ()
            flask_dbmigrate.check()
            current = flask_dbmigrate.current()
            assert [[found.revision for found in one.revisions] for one in current.databases] == (
                [[revision.revision]] * len(expected)
            )
            flask_dbmigrate.downgrade()
            assert tables() == [set()] * len(expected)
            capsys.readouterr()
            add_value(Path(revision.path))
            flask_dbmigrate.upgrade(sql=True)
        finally:
            for engine in db.engines.values():
                engine.dispose()
    written = capsys.readouterr().out
    assert written.count("4711") == 1
    created = re.findall(r"CREATE TABLE [`\"]?(\w+)", written)
    assert [table for table in created if table != "alembic_version"] == [
        table for names in expected for table in names
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["migrations"]


def add_value(path: Path) -> None:
    """Have a script execute a statement with a value."""
    create = "op.create_table('user'"
    source = path.read_text()
    assert source.count(create) == 1
    path.write_text(
        source.replace(create, f"op.execute(sa.select(sa.literal(4711)))\n    {create}")
    )


def write_directory(template: Path, directory: Path) -> None:
    """Write a directory as the ``init`` of that release did."""
    shutil.copytree(template, directory)
    (directory / "alembic.ini.mako").rename(directory / "alembic.ini")
    ini = (directory / "alembic.ini").read_text()
    (directory / "alembic.ini").write_text(ini.replace("%%", "%"))
    (directory / "versions").mkdir()
