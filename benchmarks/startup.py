"""What the extension adds to the start of an application that uses Flask-SQLAlchemy.

``python benchmarks/startup.py`` installs this checkout and Flask-Migrate from the package index
into a fresh environment, starts an application with neither, with one and with the other in turn,
each time in a new process, and prints medians and the ratio.
"""

from __future__ import annotations

import json
from pathlib import Path
import statistics
import subprocess
import sys
import tempfile

ROUNDS = 15
CHECKOUT = Path(__file__).parents[1]
PEER = "Flask-Migrate==4.1.0"

APP = """
import json, resource, sys, time
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

app = Flask("app")
app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
db = SQLAlchemy(app)
modules = set(sys.modules)
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started = time.perf_counter()
{bind}
seconds = time.perf_counter() - started
print(json.dumps({{
    "ms": seconds * 1000,
    "KiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory,
    "modules": len(set(sys.modules) - modules),
    "alembic or mako": any(name in sys.modules for name in ("alembic", "mako")),
}}))
"""

VARIANTS = {
    "neither": "pass",
    "flask_dbmigrate": "from flask_dbmigrate import Migrate; Migrate(app, db)",
    "flask_migrate": "from flask_migrate import Migrate; Migrate(app, db)",
}


def measure(python: Path, bind: str) -> dict[str, float]:
    """Start the application once."""
    command = [python, "-c", APP.format(bind=bind)]
    elsewhere = python.parent  # not here, where the checkout would be imported, uncompiled
    output = subprocess.run(
        command, cwd=elsewhere, check=True, capture_output=True, text=True
    ).stdout
    figures: dict[str, float] = json.loads(output)
    return figures


def main() -> None:
    """Measure all variants in turn and print a table."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = Path(folder, "bin", "python")
        install = [python, "-m", "pip", "install", "--quiet", str(CHECKOUT), PEER]
        subprocess.run(install, check=True)
        measured: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
        for _ in range(ROUNDS + 1):
            for name, bind in VARIANTS.items():
                measured[name].append(measure(python, bind))
    print(f"{'':16} {'ms':>8} {'KiB':>8} {'modules':>8}  alembic or mako loaded")
    medians = {}
    for name, rounds in measured.items():
        middle = {key: statistics.median(one[key] for one in rounds[1:]) for key in rounds[0]}
        medians[name] = middle
        print(
            f"{name:16} {middle['ms']:8.2f} {middle['KiB']:8.0f} {middle['modules']:8.0f}  "
            f"{bool(middle['alembic or mako'])}"
        )
    ratio = medians["flask_dbmigrate"]["ms"] / medians["flask_migrate"]["ms"]
    print(f"\nflask_dbmigrate takes {ratio:.3f} of the time that flask_migrate takes.")


if __name__ == "__main__":
    main()
