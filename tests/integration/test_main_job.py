"""init → migrate → upgrade → check → downgrade → upgrade, as typed, on every driver."""

from __future__ import annotations

from pathlib import Path

from harness import POST_MODEL
from harness import Project
from harness import USER_MODEL


def test_main_job_on_every_driver(tmp_path: Path, database_url: str) -> None:
    """A developer gets from nothing to a migrated database and back, with a hard password."""
    project = Project(tmp_path / "project", database_url)
    project.db("init")
    first = project.db("migrate", "-m", "add users").strip()
    assert Path(project.folder, first).read_text().startswith('"""add users\n')
    project.db("upgrade")
    assert project.tables() == {"user"}
    assert project.db("check") == "No new upgrade operations detected.\n"
    project.db("downgrade")
    assert project.tables() == set()
    project.db("upgrade")
    assert project.tables() == {"user"}

    project.write_app(USER_MODEL + POST_MODEL)
    sentence = "Table 'post' is in the models but not in the database."
    assert sentence in project.flask("db", "check").stdout
    project.db("migrate", "-m", "add posts")
    project.db("upgrade")
    assert project.tables() == {"user", "post"}
    project.db("check")
