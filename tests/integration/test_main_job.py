"""init → migrate → upgrade → check → downgrade → upgrade, as typed, on every driver."""

from __future__ import annotations

from pathlib import Path

from harness import Project
from harness import QuickProject

USER_MODEL = """
class User(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    name = db.Column(db.String(128), nullable=False, unique=True)
    email = db.Column(db.String(255), index=True)
    about = db.Column(db.Text)
    is_active = db.Column(db.Boolean, nullable=False, server_default="1")
    karma = db.Column(db.BigInteger)
    level = db.Column(db.SmallInteger)
    balance = db.Column(db.Numeric(10, 2))
    score = db.Column(db.Float)
    birthday = db.Column(db.Date)
    wakes_at = db.Column(db.Time)
    created_at = db.Column(db.DateTime, nullable=False, server_default=db.func.now())
    seen_at = db.Column(db.DateTime(timezone=True))
    avatar = db.Column(db.LargeBinary)
    settings = db.Column(db.JSON)
    token = db.Column(db.Uuid)
    role = db.Column(db.Enum("reader", "author", native_enum=False))
"""

POST_MODEL = """
class Post(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    author_id = db.Column(db.ForeignKey("user.id", ondelete="CASCADE"), nullable=False, index=True)
    title = db.Column(db.String(64), nullable=False)
"""


def do_main_job(project: Project) -> None:
    """Get from nothing to a migrated database and back, and migrate new models."""
    project.write_app(USER_MODEL)
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


def test_main_job_on_every_driver(tmp_path: Path, database_url: str) -> None:
    """The main job works on every driver, with a hard password."""
    do_main_job(QuickProject(tmp_path / "project", database_url))


def test_main_job_as_typed(tmp_path: Path, postgresql_url: str) -> None:
    """The main job works when each command is a process of its own."""
    do_main_job(Project(tmp_path / "project", postgresql_url))
