"""What is built and published."""

from __future__ import annotations

import os
from pathlib import Path
import subprocess
import sys
import tarfile

from flit_core import buildapi
import pytest

CHECKOUT = Path(__file__).parents[2]
TEMPLATE_FILES = {"README", "alembic.ini.mako", "env.py", "script.py.mako"}

APP = """
from flask import Flask
from flask_dbmigrate import Migrate
from flask_sqlalchemy import SQLAlchemy

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///shop.db"
db = SQLAlchemy(app)
Migrate(app, db)

class Customer(db.Model):
    id = db.Column(db.Integer, primary_key=True)
"""


def test_wheel_in_an_empty_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel alone, in an environment with nothing else, does the main job."""
    monkeypatch.chdir(CHECKOUT)
    wheel = tmp_path / buildapi.build_wheel(str(tmp_path))
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", wheel], check=True)
    (tmp_path / "app.py").write_text(APP)

    def flask_db(*arguments: str) -> str:
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        command = [str(python), "-m", "flask", "db", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=clean, check=True, capture_output=True, text=True
        ).stdout

    flask_db("init")
    flask_db("migrate", "-m", "add customers")
    flask_db("upgrade")
    assert flask_db("current").endswith(" (head)\n")
    assert "flask-multidb - " in flask_db("list-templates")
    assert (environment / "bin" / "alembic").exists()


def test_source_distribution_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The source distribution has the templates, the example application and the tests."""
    monkeypatch.chdir(CHECKOUT)
    with tarfile.open(tmp_path / buildapi.build_sdist(str(tmp_path))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for template in ("flask", "flask-multidb"):
        folder = f"flask_dbmigrate/templates/{template}/"
        assert {name.removeprefix(folder) for name in names if name.startswith(folder)} == (
            TEMPLATE_FILES
        )
    expected = {
        "LICENSE",
        "README.rst",
        "CHANGES.rst",
        "tox.ini",
        "flask_dbmigrate/py.typed",
        "example_app/Procfile",
        "example_app/migrations/env.py",
        "tests/conftest.py",
    }
    assert expected <= names
    assert not {name for name in names if name.endswith((".pyc", ".db"))}
