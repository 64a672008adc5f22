"""Speed, memory and statements beside Flask-Migrate, Flask-Alembic and the plain ``alembic``.

``python benchmarks/compare.py`` installs this checkout as a wheel and the others from the package
index into a fresh environment, writes the same application and the same revisions for each, and
runs each command as a process of its own, the tools in turn. It prints medians, in brackets the
ratio to Flask-Migrate, and whether the goals are met.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import ExitStack
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
import json
import os
from pathlib import Path
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from urllib.parse import urlsplit
import uuid

from generator import ALEMBIC
from generator import APP
from generator import complete_alembic
from generator import FLASK_MIGRATE
from generator import MIGRATING
from generator import OURS
from generator import OWN_STATEMENTS
from generator import STATEMENTS
from generator import Tool
from generator import write_app
from generator import write_revisions

CHECKOUT = Path(__file__).parents[1]
PEERS = ["Flask-Migrate==4.1.0", "Flask-Alembic", "alembic", "psycopg[binary]", "pymysql"]
SHOWN = (APP, *MIGRATING)
SINGLE = "--single-transaction"

EXECUTE = """
import sys, sqlalchemy as sa
engine = sa.create_engine(sys.argv[1], isolation_level="AUTOCOMMIT")
with engine.connect() as connection:
    for statement in sys.argv[2:]:
        connection.exec_driver_sql(statement)
"""
START = "from app import create_app; create_app()"
CREATE_ALL = "from app import *; create_app().app_context().push(); db.create_all()"

Figures = dict[str, float | str]
"""A figure for each tool, or why there is none."""


class FailedError(Exception):
    """A command did not succeed; the text is for a cell of the table."""


@dataclass(frozen=True)
class Goal:
    """An upper limit, as a multiple of another tool's figure if one is named."""

    limit: float
    of: str | None = FLASK_MIGRATE.name

    def __str__(self) -> str:
        return f"<= {self.limit:g}" if self.of is None else f"<= {self.limit:g} x {self.of}"

    def ratio(self, figures: Figures) -> float | None:
        """Divide our figure by what it is measured by."""
        ours, other = figures.get(OURS.name), figures.get(self.of, "") if self.of else 1.0
        if isinstance(ours, str) or isinstance(other, str) or ours is None:
            return None
        return ours / other


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    label: str
    metric: str
    figures: Figures
    goal: Goal | None = None

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None if there is none."""
        if self.goal is None or (ratio := self.goal.ratio(self.figures)) is None:
            return None
        return ratio <= self.goal.limit


@dataclass(frozen=True)
class Run:
    """A command in the folder of an application, what comes before it, and more environment."""

    folder: Path
    command: list[str]
    prepare: Callable[[], None] = lambda: None
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Workplace:
    """An environment with all tools, a folder to write to, and servers."""

    programs: Path
    folder: Path
    servers: dict[str, str]
    rounds: int
    stack: ExitStack

    def execute(self, run: Run) -> dict[str, float]:
        """Run a process and tell what it took.

        :raises FailedError: if its exit code is not 0.
        """
        kept = ("PYTHON", "FLASK_", "DBMIGRATE_")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(kept)}
        run.prepare()
        command = [str(self.programs / run.command[0]), *run.command[1:]]
        with tempfile.TemporaryFile() as output:
            started = time.perf_counter()
            process = subprocess.Popen(
                command,
                cwd=run.folder,
                env=environment | run.environment,
                stdout=output,
                stderr=output,
            )
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - started
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode != 0:
                output.seek(0)
                text = output.read().decode(errors="replace")
                print(*command, "\n", text[-2000:], file=sys.stderr)
                raise FailedError("none" if "No such" in text else f"exit {process.returncode}")
        cpu = usage.ru_utime + usage.ru_stime
        return {"wall s": wall, "CPU s": cpu, "memory MB": usage.ru_maxrss / 1024}

    def measure(self, runs: dict[str, Run], *, times: int = 1) -> dict[str, Figures]:
        """Run all in turn, and give each metric's medians; the first round does not count."""
        results: dict[str, list[dict[str, float]]] = {name: [] for name in runs}
        failed: Figures = {}
        for _ in range(self.rounds * times + 1):
            for name, run in runs.items():
                try:
                    if name not in failed:
                        results[name].append(self.execute(run))
                except FailedError as error:
                    failed[name] = str(error)
        return {
            metric: failed
            | {
                name: statistics.median(one[metric] for one in measured[1:])
                for name, measured in results.items()
                if name not in failed
            }
            for metric in ("wall s", "CPU s", "memory MB")
        }

    def count(self, run: Run) -> int:
        """Count the statements that a process sends."""
        file = self.folder / "statements"
        file.unlink(missing_ok=True)
        environment = {**run.environment, STATEMENTS: str(file)}
        self.execute(Run(run.folder, run.command, run.prepare, environment))
        return len(file.read_text().splitlines())

    def site(self, tool: Tool, *, models: int = 10, revisions: int = 1, url: str = "") -> Path:
        """Write an application and a migration directory."""
        kind = url and "-" + urlsplit(url).path[1:]
        folder = self.folder / f"{models}-{revisions}{kind}" / tool.name
        if folder.exists():
            return folder
        folder.mkdir(parents=True)
        url = url or f"sqlite:///{folder / 'app.db'}"
        write_app(folder, tool, models=models, url=url)
        if tool.program:
            self.execute(Run(folder, [*tool.program, *tool.init]))
            write_revisions(folder / tool.scripts, revisions)
        if tool is ALEMBIC:
            complete_alembic(folder, url)
        return folder

    def database(self, backend: str) -> tuple[str, Callable[[], None]]:
        """Name a new database on a server, and how to empty it; it is dropped in the end."""
        server = self.servers[backend]
        name = f"dbmigrate_benchmark_{uuid.uuid4().hex[:8]}"
        force = " WITH (FORCE)" if backend == "PostgreSQL" else ""
        drop, create = f"DROP DATABASE IF EXISTS {name}{force}", f"CREATE DATABASE {name}"
        execute = ["python", "-c", EXECUTE, server]
        self.stack.callback(self.execute, Run(self.folder, [*execute, drop]))
        url = urlsplit(server)._replace(path=f"/{name}").geturl()
        return url, lambda: void(self.execute(Run(self.folder, [*execute, drop, create])))


def void(_: object) -> None:
    """Forget a result."""


def renew(folder: Path, database: Path | None = None) -> None:
    """Put a copy of a file in place of an application's SQLite database, or remove it."""
    for path in folder.glob("app.db*"):
        path.unlink()
    if database:
        shutil.copyfile(database, folder / "app.db")


def rows(label: str, measured: dict[str, Figures], goals: dict[str, Goal]) -> list[Row]:
    """Make a row of each metric; memory has a goal in any case."""
    goals = {"memory MB": Goal(1.0), **goals}
    return [Row(label, metric, figures, goals.get(metric)) for metric, figures in measured.items()]


def start(at: Workplace) -> list[Row]:
    """Start the application without and with an extension."""
    command = ["python", "-c", START]
    measured = at.measure({tool.name: Run(at.site(tool), command) for tool in SHOWN[:-1]}, times=8)
    return rows("app start, 10 models", measured, {"wall s": Goal(1.01, APP.name)})


def upgraded(at: Workplace, revisions: int) -> Path:
    """Make an SQLite database to which all revisions are applied, with our log of it."""
    folder = at.site(OURS, revisions=revisions)
    database = folder.parent / "upgraded.db"
    if not database.exists():
        at.execute(Run(folder, [*OURS.program, "upgrade", SINGLE], lambda: renew(folder)))
        (folder / "app.db").rename(database)
    return database


def on_upgraded(
    at: Workplace, revisions: int, command: str, *, cache: bool = True
) -> dict[str, Figures]:
    """Run a command of each tool where nothing is pending."""
    database = upgraded(at, revisions)

    def run(tool: Tool) -> Run:
        folder = at.site(tool, revisions=revisions)

        def prepare() -> None:
            renew(folder, database)
            for path in () if cache else list(folder.rglob("__pycache__")):
                shutil.rmtree(path)

        target = tool.target if command == "upgrade" else ()
        environment = {} if cache else {"PYTHONDONTWRITEBYTECODE": "1"}
        return Run(folder, [*tool.program, command, *target], prepare, environment)

    return at.measure({tool.name: run(tool) for tool in MIGRATING})


def noop(at: Workplace) -> list[Row]:
    """Upgrade where nothing is pending."""
    found = []
    for revisions, limit in ((10, 1.0), (1000, 0.75), (5000, 0.4)):
        measured = on_upgraded(at, revisions, "upgrade")
        label = f"upgrade, nothing pending, {revisions} revisions, SQLite"
        found += rows(label, measured, {"wall s": Goal(limit)})
    return found


def nocache(at: Workplace) -> list[Row]:
    """Upgrade where nothing is pending and nothing is compiled."""
    measured = on_upgraded(at, 1000, "upgrade", cache=False)
    label = "upgrade, nothing pending, 1000 revisions, no __pycache__, SQLite"
    return rows(label, measured, {"wall s": Goal(0.65)})


def current(at: Workplace) -> list[Row]:
    """Show the current revision."""
    measured = on_upgraded(at, 5000, "current")
    return rows("current, 5000 revisions, SQLite", measured, {"wall s": Goal(0.15)})


def empty(at: Workplace) -> list[Row]:
    """Upgrade an empty database, once each revision by itself, and once all or none."""
    runs = {}
    for tool in MIGRATING:
        folder = at.site(tool, revisions=1000)
        command = [*tool.program, "upgrade", *tool.target]
        runs[tool.name] = Run(folder, command, lambda folder=folder: renew(folder))  # type: ignore[misc]
    ours = runs[OURS.name]
    measured = at.measure({**runs, SINGLE: Run(ours.folder, [*ours.command, SINGLE], ours.prepare)})
    single = {
        metric: {**figures, OURS.name: figures[SINGLE]} for metric, figures in measured.items()
    }
    label = "upgrade of an empty database, 1000 revisions, SQLite"
    return [
        *rows(label, measured, {"wall s": Goal(0.5), "CPU s": Goal(1.0)}),
        *rows(f"{label}, ours with {SINGLE}", single, {"wall s": Goal(0.2)}),
    ]


def filled(at: Workplace, backend: str, tables: int) -> dict[str, Run]:
    """Make a database that is equal to the models, and ``check`` it with each tool."""
    url, create = at.database(backend) if backend in at.servers else ("", lambda: None)
    create()
    sites = {tool: at.site(tool, models=tables, url=url) for tool in MIGRATING}
    folder, database = sites[ALEMBIC], sites[ALEMBIC].parent / "filled.db"
    at.execute(Run(folder, ["python", "-c", CREATE_ALL]))
    at.execute(Run(folder, ["alembic", "stamp", "head"]))
    if not url:
        (folder / "app.db").rename(database)
    return {
        tool.name: Run(
            folder,
            [*tool.program, "check"],
            lambda folder=folder: None if url else renew(folder, database),  # type: ignore[misc]
        )
        for tool, folder in sites.items()
    }


def check(at: Workplace) -> list[Row]:
    """Compare 1000 tables with their models."""
    found = []
    for backend, limit in (("SQLite", 1.0), ("PostgreSQL", 0.8), ("MariaDB", 1.0)):
        measured = at.measure(filled(at, backend, 1000))
        found += rows(f"check, 1000 tables, {backend}", measured, {"wall s": Goal(limit)})
    return found


def memory(at: Workplace) -> list[Row]:
    """Compare 3000 tables with their models; other rows tell of memory, too."""
    return rows("check, 3000 tables, SQLite", at.measure(filled(at, "SQLite", 3000)), {})


def statements(at: Workplace) -> list[Row]:
    """Count what PostgreSQL is sent."""
    checked, idle, added = (
        dict[str, float | str](),
        dict[str, float | str](),
        dict[str, float | str](),
    )
    checks = filled(at, "PostgreSQL", 1000)
    url, create = at.database("PostgreSQL")
    for tool in MIGRATING:
        command = [*tool.program, "upgrade", *tool.target]
        few, many = (at.site(tool, revisions=count, url=url) for count in (10, 110))
        try:
            fewer, more = (at.count(Run(folder, command, create)) for folder in (few, many))
            added[tool.name] = (more - fewer) / 100 - OWN_STATEMENTS
            idle[tool.name] = at.count(Run(many, command))
            checked[tool.name] = at.count(checks[tool.name])
        except FailedError as error:
            for figures in (checked, idle, added):
                figures.setdefault(tool.name, str(error))
    return [
        Row("check, 1000 tables, PostgreSQL", "statements", checked, Goal(60, None)),
        Row("upgrade, nothing pending, PostgreSQL", "statements", idle, Goal(6, None)),
        Row("a revision, besides its own, PostgreSQL", "statements", added, Goal(5, None)),
    ]


CASES = {
    case.__name__: case
    for case in (start, noop, nocache, current, empty, check, statements, memory)
}


def cell(row: Row, tool: str) -> str:
    """Write a figure, and its ratio to Flask-Migrate's."""
    figure, base = row.figures.get(tool, "-"), row.figures.get(FLASK_MIGRATE.name)
    if isinstance(figure, str):
        return figure
    digits = 2 if row.metric.endswith(" s") else 0
    ratio = f" ({figure / base:.2f})" if isinstance(base, float | int) and base else ""
    return f"{figure:.{digits}f}{ratio}"


def table(found: list[Row]) -> Iterator[str]:
    """Write all rows; those of one case stand under a heading."""
    yield f"{'':11}" + "".join(f"{tool.name:>16}" for tool in SHOWN)
    label = ""
    for row in found:
        if row.label != label:
            label = row.label
            yield f"\n{label}"
        cells = "".join(f"{cell(row, tool.name):>16}" for tool in SHOWN)
        met = {True: "met", False: "MISSED", None: "not measured"}[row.met]
        yield f"{row.metric:11}{cells}" + (f"  {row.goal}: {met}" if row.goal else "")


@contextmanager
def workplace(options: argparse.Namespace) -> Iterator[Workplace]:
    """Install all tools; remove all that was made in the end."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        venv = options.venv or folder / "venv"
        if not (venv / "bin").exists():
            subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        install = [venv / "bin" / "python", "-m", "pip", "install", "--quiet"]
        subprocess.run([*install, str(CHECKOUT), *PEERS], check=True)
        servers = {
            "PostgreSQL": urlsplit(options.postgresql)
            ._replace(scheme="postgresql+psycopg")
            .geturl(),
            "MariaDB": urlsplit(options.mysql)._replace(scheme="mysql+pymysql").geturl(),
        }
        yield Workplace(venv.absolute() / "bin", folder, servers, options.rounds, stack)


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="default: 5, after one warm-up")
    parser.add_argument("--only", choices=CASES, action="append", help="may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--venv", type=Path, metavar="DIR", help="an environment to be reused")
    for name, default in (
        ("postgresql", "postgresql://postgres@127.0.0.1:5432/postgres"),
        ("mysql", "mysql://root@127.0.0.1:3306/mysql"),
    ):
        variable = f"DBMIGRATE_TEST_{name.upper()}"
        given = os.environ.get(variable, default)
        parser.add_argument(f"--{name}", metavar="URL", default=given, help=f"or {variable}")
    return parser.parse_args()


def main() -> None:
    """Run what is asked for."""
    options = parse()
    found: list[Row] = []
    with workplace(options) as at:
        for name in options.only or CASES:
            found += CASES[name](at)
    print(*table(found), sep="\n")
    if options.json:
        machine = {"python": platform.python_version(), "cpus": os.cpu_count()}
        listed = [{**asdict(row), "met": row.met} for row in found]
        options.json.write_text(json.dumps({"machine": machine, "rows": listed}, indent=2))


if __name__ == "__main__":
    main()
