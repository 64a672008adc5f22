"""What importing the package costs an application that never migrates."""

from __future__ import annotations

import json
from pathlib import Path
import subprocess
import sys

APP = """
import sys
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

def create_app():
    app = Flask("app")
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
    db = SQLAlchemy(app)
    {bind}
    return app

before = set(sys.modules)
"""

ALLOWED = {
    "flask_dbmigrate",
    "flask_dbmigrate.cli",
    "flask_dbmigrate.cli.group",
    "flask_dbmigrate.cli.options",
    "flask_dbmigrate.commands",
    "flask_dbmigrate.errors",
    "flask_dbmigrate.extension",
    "flask_dbmigrate.state",
}

ALLOWED_FOR_HELP = ALLOWED | {
    "flask_dbmigrate.cli.authoring",
    "flask_dbmigrate.cli.browsing",
    "flask_dbmigrate.cli.checking",
    "flask_dbmigrate.cli.console",
    "flask_dbmigrate.cli.editing",
    "flask_dbmigrate.cli.progress",
    "flask_dbmigrate.cli.prompts",
    "flask_dbmigrate.cli.reporting",
    "flask_dbmigrate.cli.resuming",
    "flask_dbmigrate.cli.running",
    "flask_dbmigrate.cli.setup",
    "flask_dbmigrate.runtime",
    "flask_dbmigrate.data",
    "flask_dbmigrate.wording",
    "flask_dbmigrate.runtime.result",
}


def loaded_modules(tmp_path: Path, *, bind: str, then: str) -> set[str]:
    """Run a small application and list the modules it has loaded in the end."""
    source = APP.format(bind=bind) + then + "\nimport json\n"
    source += "print(json.dumps(sorted(set(sys.modules))), file=sys.__stderr__)"
    (tmp_path / "script.py").write_text(source)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    modules: list[str] = json.loads(done.stderr.splitlines()[-1])
    return set(modules)


def test_application_start(tmp_path: Path) -> None:
    """Binding an application loads these modules of ours and nothing that was not there."""
    plain = loaded_modules(tmp_path, bind="", then="create_app()")
    bound = loaded_modules(
        tmp_path,
        bind="from flask_dbmigrate import Migrate; Migrate(app, db)",
        then="create_app()",
    )
    assert bound - plain == ALLOWED


def test_importing_alone_loads_no_sqlalchemy(tmp_path: Path) -> None:
    """Importing the package loads neither SQLAlchemy nor Alembic nor Mako."""
    (tmp_path / "script.py").write_text(
        "import sys, flask_dbmigrate\n"
        "heavy = {'alembic', 'mako', 'sqlalchemy', 'flask_sqlalchemy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_help_of_the_group(tmp_path: Path) -> None:
    """'flask db --help' lists the commands without loading Alembic or Mako."""
    modules = loaded_modules(
        tmp_path,
        bind="from flask_dbmigrate import Migrate; Migrate(app, db)",
        then="result = create_app().test_cli_runner().invoke(args=['db', '--help'])\n"
        "assert 'upgrade ' in result.output, result.output",
    )
    assert {name for name in modules if name.startswith("flask_dbmigrate")} == ALLOWED_FOR_HELP
    assert not {name for name in modules if name.partition(".")[0] in ("alembic", "mako")}
