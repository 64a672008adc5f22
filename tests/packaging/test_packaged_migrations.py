"""An application whose wheel brings its migrations along."""

from __future__ import annotations

import os
from pathlib import Path
import subprocess
import sys

from flit_core import buildapi
from harness import Project
import pytest

PYPROJECT = """
[build-system]
requires = ["flit_core"]
build-backend = "flit_core.buildapi"

[project]
name = "shop"
version = "1.0"
description = "A shop."
"""

FACTORY = """
import os
from flask import Flask
from flask_dbmigrate import Migrate
from .models import db

def create_app():
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["SHOP_DATABASE_URL"]
    db.init_app(app)
    Migrate(app, db, directory="shop:migrations")
    return app
"""

MODELS = """
from flask_sqlalchemy import SQLAlchemy

db = SQLAlchemy()

class Customer(db.Model):
    id = db.Column(db.Integer, primary_key=True)
"""


class Shop:
    """The application, installed; the working directory is an unrelated project's.

    :param elsewhere: That project.
    :param site: The folder that the wheel is installed into.
    """

    def __init__(self, elsewhere: Project, site: Path) -> None:
        self.elsewhere = elsewhere
        self.site = site

    def run(self, *command: str) -> str:
        """Run a Python module as a command, expect success, and return what it prints."""
        path = os.pathsep.join(filter(None, (str(self.site), os.environ.get("PYTHONPATH"))))
        done = self.elsewhere.run(
            *command,
            env={
                "PYTHONPATH": path,
                "FLASK_APP": "shop",
                "SHOP_DATABASE_URL": self.elsewhere.url,
            },
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def files(self) -> dict[Path, int]:
        """All files of the installation, and when each was written."""
        return {path: path.stat().st_mtime_ns for path in self.site.rglob("*")}


@pytest.fixture
def shop(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """The application: written, given a revision, built and installed."""
    source = tmp_path / "source"
    package = source / "shop"
    package.mkdir(parents=True)
    (source / "pyproject.toml").write_text(PYPROJECT)
    (package / "__init__.py").write_text(FACTORY)
    (package / "models.py").write_text(MODELS)
    development = Project(tmp_path / "development", f"sqlite:///{tmp_path / 'development.db'}")
    developed = Shop(development, source)
    developed.run("flask", "db", "init")
    developed.run("flask", "db", "migrate", "--rev-id", "aaa")
    monkeypatch.chdir(source)
    wheel = tmp_path / buildapi.build_wheel(str(tmp_path))
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*install, "--target", tmp_path / "site", wheel], check=True)
    source.rename(tmp_path / "source-that-is-away")
    return Shop(project, tmp_path / "site")


def test_wheel_with_migrations(shop: Shop) -> None:
    """An installed application migrates from any working directory."""
    shop.run("flask", "db", "upgrade")
    assert shop.run("flask", "db", "current") == "aaa (head)\n"
    assert shop.run("flask", "db", "check") == "No new upgrade operations detected.\n"
    assert shop.elsewhere.tables() == {"customer"}
    ini = str(shop.site / "shop" / "migrations" / "alembic.ini")
    assert shop.run("alembic", "-c", ini, "current") == "aaa (head)\n"


def test_installation_stays_as_it_is(shop: Shop) -> None:
    """Running migrations writes nothing to the installation, which may be read-only."""
    before = shop.files()
    for command in (["upgrade"], ["check"], ["history"], ["downgrade", "--yes"]):
        shop.run("flask", "db", *command)
    assert shop.files() == before
