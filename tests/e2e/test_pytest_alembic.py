"""pytest-alembic runs its own tests on a generated directory."""

from __future__ import annotations

import re

from harness import POST_MODEL
from harness import Project
from harness import USER_MODEL

CONFTEST = """
import app
import pytest

@pytest.fixture
def alembic_config():
    return {"file": "migrations/alembic.ini"}

@pytest.fixture
def alembic_engine(tmp_path):
    application = app.create_app()
    with application.app_context():
        yield app.db.engine
        app.db.engine.dispose()
"""


INI = """
[pytest]
pytest_alembic_include_experimental = downgrade_leaves_no_trace
"""


def test_built_in_tests_pass(new_project: Project) -> None:
    """The plugin's tests pass: it hands in an engine, or a connection that looks like one."""
    new_project.db("migrate", "-m", "users")
    new_project.db("upgrade")
    new_project.write_app(USER_MODEL + POST_MODEL)
    new_project.db("migrate", "-m", "posts")
    new_project.db("downgrade", "base")
    tests = new_project.folder / "tests"
    tests.mkdir()
    (tests / "conftest.py").write_text(CONFTEST)
    (new_project.folder / "pytest.ini").write_text(INI)
    done = new_project.run("pytest", "--test-alembic", "-p", "no:cacheprovider", "tests")
    assert re.search(r"\b5 passed\b", done.stdout), done.stdout + done.stderr
