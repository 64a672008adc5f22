"""Scripts that would do nothing, though all seems well: they are an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import typing as t

from harness import Application
from harness import OUR_TABLES
from harness import Project
import pytest

import flask_dbmigrate
from flask_dbmigrate import ConfigurationError
from flask_dbmigrate import MigrationError
from flask_dbmigrate import ScriptError

HEAD = "import functools\nfrom alembic import op\nrevision = 'bbb'\ndown_revision = 'aaa'\n"
TABLE = "op.execute('CREATE TABLE one (id INTEGER)')"


@pytest.fixture
def folder(start: Callable[..., Application], tmp_path: Path, sqlite_url: str) -> Project:
    """A project whose first revision is all right; its application context is pushed."""
    start()
    project = Project(tmp_path, sqlite_url)
    project.revision("aaa", upgrade=["op.execute('CREATE TABLE zero (id INTEGER)')"])
    return project


def write(project: Project, source: str) -> Path:
    """Write the second revision."""
    path = project.folder / "migrations" / "versions" / "bbb_.py"
    path.write_text(HEAD + source)
    return path


DEAD = {
    "generator": (f"def upgrade():\n    {TABLE}\n    yield\n", "a generator"),
    "async": (f"async def upgrade():\n    {TABLE}\n", "an 'async def'"),
    "async generator": (f"async def upgrade():\n    {TABLE}\n    yield\n", "an 'async def'"),
    "partial": (
        f"async def work(name):\n    {TABLE}\nupgrade = functools.partial(work, 'x')\n",
        "an 'async def'",
    ),
    "method": (
        f"class Work:\n    def run(self):\n        {TABLE}\n        yield\nupgrade = Work().run\n",
        "a generator",
    ),
    "callable object": (
        f"class Work:\n    async def __call__(self):\n        {TABLE}\nupgrade = Work()\n",
        "an 'async def'",
    ),
    "class": (f"class upgrade:\n    def run(self):\n        {TABLE}\n", "a class"),
    "None": ("upgrade = None\n", "no function"),
}


@pytest.mark.parametrize("kind", DEAD)
def test_function_that_does_nothing(folder: Project, kind: str) -> None:
    """What does nothing when it is called is no function: nothing is run, not what comes before."""
    source, what = DEAD[kind]
    path = write(folder, source + "def downgrade():\n    pass\n")
    for command in (flask_dbmigrate.upgrade, flask_dbmigrate.plan_upgrade):
        with pytest.raises(ScriptError, match=rf"'upgrade' in '.*bbb_\.py' is {what}") as caught:
            command()
        assert caught.value.path == str(path)
        assert folder.inspect() == []
    with pytest.raises(ScriptError):
        flask_dbmigrate.upgrade(sql=True)


def test_downgrade_that_does_nothing(folder: Project) -> None:
    """A ``downgrade`` is looked at when it is needed, and all of them before the first is run."""
    write(folder, "def upgrade():\n    pass\ndef downgrade():\n    yield\n")
    flask_dbmigrate.upgrade()
    folder.revision("ccc", "bbb", downgrade=["op.execute('DROP TABLE zero')"])
    flask_dbmigrate.upgrade()
    with pytest.raises(ScriptError, match=r"'downgrade' in '.*' is a generator"):
        flask_dbmigrate.downgrade(revision="base")
    assert set(folder.inspect()) == {"zero", *OUR_TABLES}


RETURNED = {
    "lambda": f"def work():\n    {TABLE}\n    yield\nupgrade = lambda: work()\n",
    "coroutine": f"async def work():\n    {TABLE}\ndef upgrade():\n    return work()\n",
    "asynchronous generator": "async def work():\n    yield\ndef upgrade():\n    return work()\n",
    "wrapped": (
        "def quietly(function):\n    @functools.wraps(function)\n    def run():\n"
        "        return function()\n    return run\n"
        f"@quietly\ndef upgrade():\n    {TABLE}\n    yield\n"
    ),
    "generator expression": (
        f"upgrade = lambda: (op.execute(statement) for statement in [{TABLE[11:-1]}])\n"
    ),
    "map": f"upgrade = lambda: map(op.execute, [{TABLE[11:-1]}])\n",
}


@pytest.mark.parametrize("kind", RETURNED)
@pytest.mark.filterwarnings("error")
def test_function_that_returns_what_was_to_be_done(folder: Project, kind: str) -> None:
    """A function that returns what nobody executes has failed, and its revision is not noted."""
    write(folder, RETURNED[kind])
    with pytest.raises(MigrationError, match=r"'bbb' failed .* 'upgrade' has returned a") as caught:
        flask_dbmigrate.upgrade()
    assert caught.value.heads == ("aaa",)
    assert set(folder.inspect()) == {"zero", *OUR_TABLES}


def test_function_that_runs_what_is_asynchronous(folder: Project) -> None:
    """A function that takes care of its coroutines itself is a function like any other."""
    write(
        folder,
        "import asyncio\ndef runs(function):\n    @functools.wraps(function)\n    def run():\n"
        "        return asyncio.run(function())\n    return run\n"
        f"@runs\nasync def upgrade():\n    {TABLE}\n",
    )
    flask_dbmigrate.upgrade()
    assert "one" in folder.inspect()


def test_result_of_a_function(folder: Project) -> None:
    """Anything else may be returned, as it always could."""
    write(folder, "def upgrade():\n    return op.get_bind().exec_driver_sql('SELECT 1')\n")
    flask_dbmigrate.upgrade()


@pytest.mark.parametrize("kind", ["async def", "def"])
def test_function_of_a_bind_key(
    make_application: Callable[..., Application], tmp_path: Path, sqlite_url: str, kind: str
) -> None:
    """The function of a bind key is looked at, too; no database is changed."""
    second = f"sqlite:///{tmp_path / 'second.db'}"
    application = make_application(binds={"user-data": second})
    with application.app.app_context():
        flask_dbmigrate.init(multidb=True)
        (written,) = flask_dbmigrate.migrate().revisions
        path = Path(written.path)
        body = "    yield\n" if kind == "def" else "    pass\n"
        source = path.read_text().replace(
            "def upgrade_user_data() -> None:\n", f"{kind} upgrade_user_data():\n{body}"
        )
        path.write_text(source)
        with pytest.raises(ScriptError, match=r"'upgrade_user_data' in .* is a"):
            flask_dbmigrate.upgrade()
        assert Project(tmp_path, sqlite_url).inspect() == []


EXITS = {
    "import": ("versions/bbb_.py", f"{HEAD}import sys\nsys.exit(0)\n", ScriptError),
    "headers": ("versions/bbb_.py", "revision = str('bbb')\nraise SystemExit\n", ScriptError),
    "env.py": ("env.py", "from alembic import context\nraise SystemExit(0)\n", ConfigurationError),
}


@pytest.mark.parametrize("where", EXITS)
def test_exit_is_no_success(folder: Project, where: str) -> None:
    """A file that ends the process, even with 0, is named; a caller of the API lives on."""
    name, source, error = EXITS[where]
    path = folder.folder / "migrations" / name
    path.write_text(source)
    with pytest.raises(
        error, match=rf"{path.name}' (failed|cannot be loaded).*SystemExit"
    ) as caught:
        flask_dbmigrate.upgrade()
    assert "line" in str(caught.value)
    assert folder.inspect() == []


def test_template_that_exits(folder: Project) -> None:
    """A template that ends the process is named, and leaves no script."""
    template = Path("migrations/script.py.mako")
    template.write_text("<%! import sys; sys.exit(0) %>" + template.read_text())
    with pytest.raises(ConfigurationError, match=r"No script can be made from .*SystemExit"):
        flask_dbmigrate.revision()
    assert [path.name for path in Path("migrations/versions").glob("*.py")] == ["aaa_.py"]


def test_receiver_that_exits(folder: Project) -> None:
    """A receiver of a signal that ends the process has failed."""

    def leave(sender: t.Any, **facts: t.Any) -> None:
        raise SystemExit(0)

    with (
        flask_dbmigrate.before_run.connected_to(leave),
        pytest.raises(MigrationError, match="'before_run' failed: SystemExit"),
    ):
        flask_dbmigrate.upgrade()
    assert folder.inspect() == []


NO_NAME = "has no 'revision', or one that is empty or no string"
NAMELESS = {
    "empty": ("revision = ''\n", NO_NAME),
    "blank": ("revision = ' '\n", NO_NAME),
    "None": ("revision = None\n", NO_NAME),
    "computed": ("revision = str()\n", NO_NAME),
    "missing": ("", NO_NAME),
}


@pytest.mark.parametrize("kind", NAMELESS)
def test_revision_without_a_name(folder: Project, kind: str) -> None:
    """A script whose revision has no name is named itself by whatever reads the scripts."""
    line, said = NAMELESS[kind]
    path = write(folder, "def upgrade():\n    pass\n")
    path.write_text(path.read_text().replace("revision = 'bbb'\n", line, 1))
    for command in (flask_dbmigrate.upgrade, flask_dbmigrate.heads, flask_dbmigrate.revision):
        with pytest.raises(ScriptError, match=rf"bbb_\.py' {said}"):
            command()
    assert folder.inspect() == []
