"""The example application, as it would be deployed."""

from __future__ import annotations

import json
from pathlib import Path
import shutil
import subprocess
import sys

import pytest
import servers
import sqlalchemy as sa

EXAMPLE = Path(__file__).parents[2] / "example_app"

USE_IT = """
from library import create_app

client = create_app().test_client()
book = {"title": "The Dispossessed", "author": "Ursula K. Le Guin"}
assert client.post("/books/", json=book).status_code == 201
assert client.get("/books/").json == [book]
"""


@pytest.fixture
def deployed(tmp_path: Path) -> Path:
    """A copy of the example application."""
    ignored = shutil.ignore_patterns("instance", "__pycache__", "*.db")
    return Path(shutil.copytree(EXAMPLE, tmp_path / "example_app", ignore=ignored))


def run(
    folder: Path, command: list[str], monkeypatch: pytest.MonkeyPatch, url: str | None
) -> subprocess.CompletedProcess[str]:
    if url is None:
        monkeypatch.delenv("DATABASE_URL", raising=False)
    else:
        monkeypatch.setenv("DATABASE_URL", url)
    return subprocess.run(
        [sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False
    )


def check_release(folder: Path, monkeypatch: pytest.MonkeyPatch, url: str | None) -> None:
    """Run the release phase of the Procfile, use the application, and take all revisions back."""
    procfile = dict(line.split(": ", 1) for line in (folder / "Procfile").read_text().splitlines())
    release = ["-m", *procfile["release"].split()]
    revisions = sorted(path.name[:12] for path in folder.glob("migrations/versions/*.py"))

    done = run(folder, release, monkeypatch, url)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Running upgrade ") == len(revisions) == 3
    assert run(folder, ["-c", USE_IT], monkeypatch, url).stderr == ""

    again = run(folder, release, monkeypatch, url)
    assert again.returncode == 0
    assert again.stderr == "Database 'default' is at 'c20b86f1d5a7': nothing to do.\n"

    flask_db = ["-m", "flask", "--app", "library", "db"]
    checked = run(folder, [*flask_db, "check"], monkeypatch, url)
    assert checked.stdout == "No new upgrade operations detected.\n", checked.stderr
    history = run(folder, [*flask_db, "history", "--json"], monkeypatch, url)
    listed = [revision["revision"] for revision in json.loads(history.stdout)["revisions"]]
    assert sorted(listed) == revisions
    down = run(folder, [*flask_db, "downgrade", "base"], monkeypatch, url)
    assert down.returncode == 0, down.stderr


def test_release_phase_on_sqlite(deployed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without DATABASE_URL the database is a file in the instance folder."""
    check_release(deployed, monkeypatch, None)
    engine = sa.create_engine(f"sqlite:///{deployed / 'instance' / 'library.db'}")
    assert sa.inspect(engine).get_table_names() == ["alembic_version", "alembic_version_log"]
    engine.dispose()


def test_release_phase_on_heroku(
    deployed: Path, monkeypatch: pytest.MonkeyPatch, postgresql_server: servers.PostgreSQL
) -> None:
    """DATABASE_URL may have the form that Heroku gives it."""
    with postgresql_server.database("heroku") as url:
        assert url.startswith("postgres://")
        check_release(deployed, monkeypatch, url)


def test_release_phase_on_mariadb(
    deployed: Path, monkeypatch: pytest.MonkeyPatch, mysql_url: str
) -> None:
    """The same revisions run on MariaDB."""
    check_release(deployed, monkeypatch, mysql_url)


def test_from_another_directory(deployed: Path, tmp_path: Path) -> None:
    """The migration directory is found beside the application, wherever the command is run."""
    done = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "example_app/library", "db", "heads"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "c20b86f1d5a7 (head)\n", done.stderr
