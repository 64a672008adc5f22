"""Flask-Migrate's own test suite, run on this package."""

from __future__ import annotations

import os
from pathlib import Path
import re
import subprocess
import sys
import tarfile

VERSION = "4.1.0"

ALIAS = """
import sys

import flask_dbmigrate
import flask_dbmigrate.cli

sys.modules["flask_migrate"] = flask_dbmigrate
sys.modules["flask_migrate.cli"] = flask_dbmigrate.cli
"""


def test_suite_passes(tmp_path: Path) -> None:
    """All seven tests pass with 'flask_migrate' being another name of this package."""
    subprocess.run(
        [
            sys.executable,
            *("-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"),
            *("--dest", tmp_path, f"Flask-Migrate=={VERSION}"),
        ],
        check=True,
    )
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    alias = tmp_path / "alias" / "flask_migrate"
    alias.mkdir(parents=True)
    (alias / "__init__.py").write_text(ALIAS)

    (suite,) = tmp_path.glob("*/tests")
    scripts = Path(sys.executable).parent
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(alias.parent),
    }
    plugins = ["no:logging", "no:cacheprovider", "no:pytest_alembic"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", "/dev/null", f"--rootdir={suite.parent}"]
        + [option for plugin in plugins for option in ("-p", plugin)]
        + [str(suite)],
        cwd=suite.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert re.search(r"\b7 passed\b", done.stdout), done.stdout + done.stderr
    assert "failed" not in done.stdout
