"""Compare speed, memory and statements with Flask-Migrate, Flask-Alembic and ``alembic``.

``python benchmarks/compare.py`` installs this checkout as a wheel and the others from the package
index into a fresh environment, writes the same application and the same revisions for each, and
runs each command as a process of its own, the tools in turn. It prints medians, in brackets the
ratio to Flask-Migrate, and whether the goals are met.

This process itself stays small, for what it needs counts as the least that a child needs: it does
not import SQLAlchemy.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import ExitStack
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from functools import partial
import itertools
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
WIDTHS = {APP.name: 13, **{tool.name: max(13, len(tool.name) + 1) for tool in MIGRATING}}
SINGLE = "--single-transaction"
STARTS = 8  # times as many rounds where the goal is one percent
METRICS = ("wall s", "CPU s", "memory MB")

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
class Row:
    """One line of the table, with an upper limit for us if there is a goal.

    :param of: The tool of whose figure the limit is a multiple.
    """

    label: str
    metric: str
    figures: Figures
    limit: float | None = None
    of: str | None = FLASK_MIGRATE.name

    def ratio(self, tool: str, to: str | None) -> float | None:
        """Divide the figures of two tools."""
        figure, other = self.figures.get(tool), self.figures.get(to) if to else 1.0
        if isinstance(figure, float) and isinstance(other, float):
            return figure / other if other else None
        return None

    def goal(self) -> str:
        """Tell the goal, and whether it is met."""
        if self.limit is None:
            return ""
        ratio = self.ratio(OURS.name, self.of)
        met = "unknown" if ratio is None else "met" if ratio <= self.limit else "missed"
        factor = f" x {self.of}" if self.of == APP.name else ""
        return f"<= {self.limit:g}{factor}: {met}"

    def cell(self, tool: str) -> str:
        """Write a figure, and its ratio to Flask-Migrate's."""
        figure, ratio = self.figures.get(tool, "-"), self.ratio(tool, FLASK_MIGRATE.name)
        if isinstance(figure, str):
            return figure
        digits = 2 if self.metric.endswith(" s") else 0
        return f"{figure:.{digits}f}" + (f" ({ratio:.2f})" if ratio is not None else "")

    def as_json(self) -> dict[str, object]:
        """Make all of it plain data."""
        ratios = {tool: self.ratio(tool, FLASK_MIGRATE.name) for tool in self.figures}
        return {**vars(self), "ratios to Flask-Migrate": ratios, "goal": self.goal()}


@dataclass(frozen=True)
class Run:
    """A command in the folder of an application, what comes before it, and more environment."""

    folder: Path
    command: list[str]
    prepare: Callable[[], object] = lambda: None
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Workplace:
    """An environment with all tools, a folder to write to, and servers."""

    programs: Path
    folder: Path
    servers: dict[str, str]
    rounds: int
    stack: ExitStack

    def execute(self, run: Run) -> tuple[float, ...]:
        """Run a process, and tell each metric.

        :raises FailedError: if its exit code is not 0.
        """
        run.prepare()
        hidden = ("PYTHON", "FLASK_", "DBMIGRATE_")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
        environment |= run.environment
        command = [str(self.programs / run.command[0]), *run.command[1:]]
        with tempfile.TemporaryFile() as log:
            started = time.perf_counter()
            process = subprocess.Popen(
                command, cwd=run.folder, env=environment, stdout=log, stderr=log
            )
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - started
            process.returncode = os.waitstatus_to_exitcode(status)
            log.seek(0)
            text = log.read().decode(errors="replace") if process.returncode else ""
        if process.returncode:
            print(*command, f"\n{text[-2000:]}", file=sys.stderr)
            missing = "No such command" in text
            raise FailedError("no command" if missing else f"exit code {process.returncode}")
        return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024

    def measure(self, runs: dict[str, Run], *, times: int = 1) -> dict[str, Figures]:
        """Run all in turn, and give medians by metric; the first round does not count."""
        results: dict[str, list[tuple[float, ...]]] = {name: [] for name in runs}
        failed: dict[str, str] = {}
        for _ in range(self.rounds * times + 1):
            for name in [name for name in runs if name not in failed]:
                try:
                    results[name].append(self.execute(runs[name]))
                except FailedError as error:
                    failed[name] = str(error)
        medians = {
            name: [statistics.median(figures) for figures in zip(*measured[1:], strict=True)]
            for name, measured in results.items()
            if name not in failed
        }
        return {
            metric: failed | {name: figures[number] for name, figures in medians.items()}
            for number, metric in enumerate(METRICS)
        }

    def count(self, run: Run) -> float:
        """Count the statements that a process sends."""
        file = self.folder / "statements"
        file.write_text("")
        self.execute(replace(run, environment={STATEMENTS: str(file)}))
        return float(len(file.read_text().splitlines()))

    def site(self, tool: Tool, *, models: int = 10, revisions: int = 1, url: str = "") -> Path:
        """Write an application and a migration directory, unless they are there."""
        folder = self.folder / f"{models}-{revisions}-{urlsplit(url).path[1:]}" / tool.name
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

    def database(self, backend: str) -> tuple[str, Callable[[], object]]:
        """Create a database on a server; tell its URL and how to empty it."""
        name = f"dbmigrate_benchmark_{uuid.uuid4().hex[:8]}"
        force = " WITH (FORCE)" if backend == "PostgreSQL" else ""
        drop = ["python", "-c", EXECUTE, self.servers[backend], f"DROP DATABASE {name}{force}"]
        create = f"CREATE DATABASE {name}"
        self.execute(Run(self.folder, [*drop[:-1], create]))
        self.stack.callback(self.execute, Run(self.folder, drop))
        url = urlsplit(self.servers[backend])._replace(path=f"/{name}").geturl()
        return url, partial(self.execute, Run(self.folder, [*drop, create]))


def renew(folder: Path, database: Path | None = None) -> None:
    """Put a copy of a file in place of an application's SQLite database, or remove it."""
    for path in folder.glob("app.db*"):
        path.unlink()
    if database:
        shutil.copyfile(database, folder / "app.db")


def clear(folder: Path, database: Path) -> None:
    """Remove what is compiled, too."""
    renew(folder, database)
    for path in list(folder.rglob("__pycache__")):
        shutil.rmtree(path)


def rows(
    label: str, measured: dict[str, Figures], of: str | None = FLASK_MIGRATE.name, **limits: float
) -> list[Row]:
    """Make a row of each metric. The goal for memory is always the same."""
    goals = {"wall s": limits.get("wall"), "CPU s": limits.get("cpu")}
    return [Row(label, metric, measured[metric], goals[metric], of) for metric in METRICS[:2]] + [
        Row(label, METRICS[2], measured[METRICS[2]], 1.0)
    ]


def start(at: Workplace) -> list[Row]:
    """Start the application without and with an extension."""
    tools = (APP, *MIGRATING[:-1])
    runs = {tool.name: Run(at.site(tool), ["python", "-c", START]) for tool in tools}
    return rows("app start, 10 models", at.measure(runs, times=STARTS), APP.name, wall=1.01)


def upgraded(at: Workplace, revisions: int) -> Path:
    """Make an SQLite database to which all revisions are applied, with our log of them."""
    folder = at.site(OURS, revisions=revisions)
    database = folder.parent / "upgraded.db"
    if not database.exists():
        at.execute(Run(folder, [*OURS.program, "upgrade", SINGLE], partial(renew, folder)))
        (folder / "app.db").rename(database)
    return database


def on_upgraded(
    at: Workplace, revisions: int, command: str, prepare: Callable[..., None] = renew, **env: str
) -> dict[str, Figures]:
    """Run a command of each tool on a copy of the same database, where nothing is pending."""
    database, runs = upgraded(at, revisions), {}
    for tool in MIGRATING:
        folder = at.site(tool, revisions=revisions)
        target = tool.target if command == "upgrade" else ()
        line = [*tool.program, command, *target]
        runs[tool.name] = Run(folder, line, partial(prepare, folder, database), env)
    return at.measure(runs)


def noop(at: Workplace) -> list[Row]:
    """Upgrade where nothing is pending."""
    found = []
    for revisions, limit in ((10, 1.0), (1000, 0.75), (5000, 0.4)):
        label = f"upgrade, nothing pending, {revisions} revisions, SQLite"
        found += rows(label, on_upgraded(at, revisions, "upgrade"), wall=limit)
    return found


def nocache(at: Workplace) -> list[Row]:
    """Upgrade where nothing is pending and nothing is compiled."""
    measured = on_upgraded(at, 1000, "upgrade", clear, PYTHONDONTWRITEBYTECODE="1")
    label = "upgrade, nothing pending, 1000 revisions, no __pycache__, SQLite"
    return rows(label, measured, wall=0.65)


def current(at: Workplace) -> list[Row]:
    """Show the current revision."""
    measured = on_upgraded(at, 5000, "current")
    return rows("current, 5000 revisions, SQLite", measured, wall=0.15)


def empty(at: Workplace) -> list[Row]:
    """Upgrade an empty database, each revision by itself, and by us also all or none."""
    runs = {}
    for tool in MIGRATING:
        folder = at.site(tool, revisions=1000)
        command = [*tool.program, "upgrade", *tool.target]
        runs[tool.name] = Run(folder, command, partial(renew, folder))
    ours = runs[OURS.name]
    measured = at.measure({**runs, SINGLE: replace(ours, command=[*ours.command, SINGLE])})
    alone = {metric: figures.pop(SINGLE) for metric, figures in measured.items()}
    single = {metric: {**measured[metric], OURS.name: alone[metric]} for metric in METRICS}
    label = "upgrade of an empty database, 1000 revisions, SQLite"
    each = rows(label, measured, wall=0.5, cpu=1.0)
    return each + rows(f"{label}, ours with {SINGLE}", single, wall=0.2)


def filled(at: Workplace, backend: str, tables: int) -> dict[str, Run]:
    """Make a database that is equal to the models, and ``check`` it with each tool."""
    url = at.database(backend)[0] if backend in at.servers else ""
    sites = {tool: at.site(tool, models=tables, url=url) for tool in MIGRATING}
    folder, database = sites[ALEMBIC], sites[ALEMBIC].parent / "filled.db"
    at.execute(Run(folder, ["python", "-c", CREATE_ALL]))
    at.execute(Run(folder, ["alembic", "stamp", "head"]))
    if not url:
        (folder / "app.db").rename(database)
    runs = {tool.name: Run(path, [*tool.program, "check"]) for tool, path in sites.items()}
    if url:
        return runs
    return {
        name: replace(run, prepare=partial(renew, run.folder, database))
        for name, run in runs.items()
    }


def check(at: Workplace) -> list[Row]:
    """Compare 1000 tables with their models."""
    found = []
    for backend, limit in (("SQLite", 1.0), ("PostgreSQL", 0.8), ("MariaDB", 1.0)):
        label = f"check, 1000 tables, {backend}"
        try:
            found += rows(label, at.measure(filled(at, backend, 1000)), wall=limit)
        except FailedError as error:
            found.append(Row(label, METRICS[0], dict.fromkeys(WIDTHS, str(error)), limit))
    return found


def memory(at: Workplace) -> list[Row]:
    """Compare 3000 tables with their models; other rows tell of memory, too."""
    return rows("check, 3000 tables, SQLite", at.measure(filled(at, "SQLite", 3000)))


def statements(at: Workplace) -> list[Row]:
    """Count what PostgreSQL is sent."""
    checked, idle, added = Figures(), Figures(), Figures()
    checks = filled(at, "PostgreSQL", 1000)
    url, recreate = at.database("PostgreSQL")
    for tool in MIGRATING:
        upgrade = [*tool.program, "upgrade", *tool.target]
        few, many = (at.site(tool, revisions=count, url=url) for count in (10, 110))
        try:
            fewer, more = (at.count(Run(folder, upgrade, recreate)) for folder in (few, many))
            added[tool.name] = (more - fewer) / 100 - OWN_STATEMENTS
            idle[tool.name] = at.count(Run(many, upgrade))
            checked[tool.name] = at.count(checks[tool.name])
        except FailedError as error:
            for figures in (checked, idle, added):
                figures.setdefault(tool.name, str(error))
    return [
        Row("check, 1000 tables, PostgreSQL", "statements", checked, 60, None),
        Row("upgrade, nothing pending, PostgreSQL", "statements", idle, 6, None),
        Row("a revision, besides its own, PostgreSQL", "statements", added, 5, None),
    ]


CASES = (start, noop, nocache, current, empty, check, statements, memory)


def table(found: list[Row]) -> Iterator[str]:
    """Write rows; those of one case stand under a heading."""
    for label, group in itertools.groupby(found, key=lambda row: row.label):
        yield f"\n{label}"
        for row in group:
            cells = (f"{row.cell(name):>{width}}" for name, width in WIDTHS.items())
            yield f"{row.metric:10}{''.join(cells)}  {row.goal()}".rstrip()


@contextmanager
def workplace(options: argparse.Namespace) -> Iterator[Workplace]:
    """Install all tools; remove all that was made in the end."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        venv = (options.venv or folder / "venv").absolute()
        if not (venv / "bin").exists():
            subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        pip = [str(venv / "bin" / "python"), "-I", "-m", "pip"]
        subprocess.run([*pip, "install", "--quiet", str(CHECKOUT), *PEERS], check=True)
        servers = {
            backend: urlsplit(url)._replace(scheme=driver).geturl()
            for backend, url, driver in (
                ("PostgreSQL", options.postgresql, "postgresql+psycopg"),
                ("MariaDB", options.mysql, "mysql+pymysql"),
            )
        }
        yield Workplace(venv / "bin", folder, servers, options.rounds, stack)


def seconds_to_sync(folder: Path) -> float:
    """Tell how long it takes until a page is on the disk: what a commit of SQLite waits for."""
    with open(folder / "page", "wb", buffering=0) as file:
        started = time.perf_counter()
        for _ in range(100):
            file.write(b"x" * 4096)
            os.fsync(file)
        return (time.perf_counter() - started) / 100


def about(at: Workplace) -> str:
    """Tell what was measured on what."""
    program = "import importlib.metadata as m, sys; print(*map(m.version, sys.argv[1:]))"
    names = [*(tool.name for tool in MIGRATING), "SQLAlchemy", "Flask"]
    command = [str(at.programs / "python"), "-I", "-c", program, *names]
    versions = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    installed = ", ".join(map(" ".join, zip(names, versions, strict=True)))
    return (
        f"Python {platform.python_version()}, {os.cpu_count()} CPUs, {installed}.\n"
        f"To sync a file takes {seconds_to_sync(at.folder) * 1000:.1f} ms.\n"
        f"Medians of {at.rounds} (app start: {at.rounds * STARTS}); "
        "in brackets the ratio to Flask-Migrate."
    )


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    names = [case.__name__ for case in CASES]
    parser.add_argument("--rounds", type=int, default=5, help="default: 5, after one warm-up")
    parser.add_argument("--only", choices=names, action="append", help="may be repeated")
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
    options, found = parse(), list[Row]()
    with workplace(options) as at:
        heading = about(at)
        names = "".join(f"{name:>{width}}" for name, width in WIDTHS.items())
        print(f"{heading}\n{'':10}{names}", flush=True)
        for case in CASES:
            if case.__name__ in (options.only or [case.__name__]):
                try:
                    found += (new := case(at))
                    print(*table(new), sep="\n", flush=True)
                except FailedError as error:
                    print(f"\n'{case.__name__}' cannot be measured: {error}", flush=True)
    if options.json:
        listed = [row.as_json() for row in found]
        options.json.write_text(json.dumps({"about": heading, "rows": listed}, indent=2))


if __name__ == "__main__":
    main()
