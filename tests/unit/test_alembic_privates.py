"""Every private name of Alembic that the package relies on: a new Alembic shows here first."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
import sys
import typing as t

from alembic import context
from alembic.autogenerate import render_python_code
from alembic.autogenerate.compare.util import _InspectorConv
from alembic.config import Config
from alembic.operations import Operations
from alembic.operations import ops
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script import write_hooks
from alembic.util import CommandError
import pytest
import sqlalchemy as sa

from flask_dbmigrate import _alembic
from flask_dbmigrate import ScriptError

SCRIPT = """
revision = {revision!r}
down_revision = {down!r}

def upgrade({parameters}):
    {body}

def downgrade():
    pass
"""


def write(folder: Path, revision: str, down: str | None, **parts: str) -> None:
    """Write a revision script."""
    parts = {"parameters": "", "body": "pass", **parts}
    path = folder / "versions" / f"{revision}_.py"
    path.write_text(SCRIPT.format(revision=revision, down=down, **parts))


@pytest.fixture
def directory(tmp_path: Path) -> ScriptDirectory:
    """A directory with the revisions ``aaaa`` and ``bbbb``."""
    (tmp_path / "versions").mkdir()
    write(tmp_path, "aaaa", None)
    write(tmp_path, "bbbb", "aaaa")
    return ScriptDirectory(str(tmp_path))


def revisions(steps: t.Sequence[_alembic.Step]) -> list[str]:
    """The revision of each step."""
    scripts = [_alembic.script_of(step) for step in steps]
    return [script.revision for script in scripts if script is not None]


@pytest.mark.parametrize("begun", ["by env.py", "by Alembic", "by the first statement"])
def test_is_in_transaction(begun: str) -> None:
    """A transaction that somebody has begun is told from SQLAlchemy's own."""
    engine = sa.create_engine("sqlite://", poolclass=sa.NullPool)
    with engine.connect() as connection:
        if begun == "by env.py":
            connection.begin()
        options = {"transactional_ddl": True}
        context = MigrationContext.configure(connection, opts=options)
        with context.begin_transaction(_per_migration=begun != "by Alembic"):
            connection.execute(sa.select(1))
            assert _alembic.is_in_transaction(context) == (begun != "by the first statement")
            assert _alembic.is_in_transaction_of_others(context) == (begun == "by env.py")


def test_load_scripts(directory: ScriptDirectory) -> None:
    """All scripts of the folders are imported."""
    assert sorted(script.revision for script in _alembic.load_scripts(directory)) == [
        "aaaa",
        "bbbb",
    ]


def test_version_locations(directory: ScriptDirectory, tmp_path: Path) -> None:
    """The folder of scripts is ``versions`` unless settings say otherwise."""
    assert _alembic.version_locations(directory) == (str(tmp_path / "versions"),)


def test_steps_up_and_down(directory: ScriptDirectory) -> None:
    """Steps come in the order in which they run."""
    assert revisions(_alembic.upgrade_steps(directory, "head", ())) == ["aaaa", "bbbb"]
    assert revisions(_alembic.downgrade_steps(directory, "base", ("bbbb",))) == ["bbbb", "aaaa"]


def test_stamp_steps(directory: ScriptDirectory) -> None:
    """A stamp runs no script."""
    (step,) = _alembic.stamp_steps(directory, ("bbbb",), ())
    assert str(step) == "stamp_revision  -> bbbb"
    assert _alembic.script_of(step) is None


def test_uppermost(directory: ScriptDirectory, tmp_path: Path) -> None:
    """A revision that another one comes after, however far above, is left out."""
    write(tmp_path, "cccc", "bbbb")
    write(tmp_path, "dddd", "aaaa")
    scripts = [directory.get_revision(name) for name in ("dddd", "aaaa", "cccc")]
    assert _alembic.uppermost(directory, scripts) == ["dddd", "cccc"]


def test_script_without_a_function(directory: ScriptDirectory, tmp_path: Path) -> None:
    """Planning a step whose function is missing names the script."""
    path = tmp_path / "versions" / "bbbb_.py"
    path.write_text(path.read_text().replace("def upgrade", "def renamed"))
    with pytest.raises(ScriptError, match=r"bbbb_\.py' has no function 'upgrade\(\)'") as caught:
        _alembic.upgrade_steps(directory, "head", ())
    assert caught.value.path == str(path)


@pytest.mark.parametrize(
    ("parameters", "key", "runs"),
    [
        ("", "", True),
        ("", "two", False),
        ("engine_name", "", True),
        ("engine_name", "two", True),
    ],
)
def test_adapt_function(
    directory: ScriptDirectory, tmp_path: Path, parameters: str, key: str, runs: bool
) -> None:
    """A script that takes no bind key runs for the default database only."""
    write(tmp_path, "bbbb", "aaaa", parameters=parameters, body="raise RuntimeError('it ran')")
    _, step = _alembic.upgrade_steps(directory, "head", ())
    _alembic.adapt_function(step, {"engine_name": key}, is_default=key == "")
    function: t.Callable[..., None] = step.migration_fn  # type: ignore[attr-defined]
    assert str(step).startswith("upgrade aaaa -> bbbb")
    if runs:
        with pytest.raises(RuntimeError, match="it ran"):
            function(engine_name=key)
    else:
        function(engine_name=key)


def test_ensure_version_table(tmp_path: Path) -> None:
    """The version table is created, once."""
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'test.db'}")
    for _ in range(2):
        with engine.begin() as connection:
            _alembic.ensure_version_table(MigrationContext.configure(connection))
    assert sa.inspect(engine).get_table_names() == ["alembic_version"]
    engine.dispose()


def test_register_environment(directory: ScriptDirectory) -> None:
    """``from alembic import context`` speaks for a subclass of Alembic's environment."""

    class Environment(EnvironmentContext):
        pass

    _alembic.register_environment(Environment)
    with Environment(Config(), directory, as_sql=True):
        assert context.is_offline_mode()


def test_whole_scripts(tmp_path: Path) -> None:
    """A script is known when it is in its place, and afterwards Alembic writes as ever."""
    (tmp_path / "versions").mkdir()
    template = tmp_path / "script.py.mako"
    template.write_text('revision = "${up_revision}"\ndown_revision = None\n')
    directory = ScriptDirectory(str(tmp_path), messaging_opts={"quiet": True})
    with _alembic.whole_scripts(directory, lambda *_: None) as written:
        script = directory.generate_revision("aaaa", "one")
        template.write_text("${missing}")
        with pytest.raises(CommandError):
            directory.generate_revision("bbbb", "two", head="base")
    assert script is not None
    assert written == [Path(script.path)] == list((tmp_path / "versions").glob("*.*"))
    assert "_generate_template" not in vars(directory)


def test_check_result(directory: ScriptDirectory) -> None:
    """What the function of a script returns can be checked; a stamp has nothing to check."""
    results: list[object] = []
    (upgrade,) = _alembic.upgrade_steps(directory, "aaaa", ())
    (stamp,) = _alembic.stamp_steps(directory, ("bbbb",), ("aaaa",))
    for step in (upgrade, stamp):
        _alembic.check_result(step, results.append)
        t.cast(t.Any, step).migration_fn()
    assert results == [None]


def test_hooks_watched(tmp_path: Path) -> None:
    """The name and the exit code of a hook that fails are told, and Alembic is as before."""
    before = write_hooks._run_hook
    (tmp_path / "versions").mkdir()
    (tmp_path / "script.py.mako").write_text('revision = "${up_revision}"\ndown_revision = None\n')
    hooks: list[t.Mapping[str, str]] = [
        {"_hook_name": name, "type": "exec", "executable": sys.executable, "options": options}
        for name, options in (
            ("one", "-c 'exit(3)' REVISION_SCRIPT_FILENAME"),
            ("two", "REVISION_SCRIPT_FILENAME"),
        )
    ]
    directory = ScriptDirectory(str(tmp_path), hooks=hooks)
    told: list[tuple[str, int]] = []
    with _alembic.hooks_watched(lambda *facts: told.append(facts)):
        directory.generate_revision("aaaa", "one")
    assert told == [("one", 3)]
    assert write_hooks._run_hook is before


def test_failed_in_hook(tmp_path: Path) -> None:
    """An error in a post-write hook is told from one before the script was written."""
    (tmp_path / "versions").mkdir()
    (tmp_path / "script.py.mako").write_text('revision = "${up_revision}"\ndown_revision = None\n')
    hook = {"_hook_name": "missing", "type": "exec", "executable": "/no/such/program"}
    directory = ScriptDirectory(str(tmp_path), hooks=[hook])
    with pytest.raises(OSError, match="No such file") as in_hook:
        directory.generate_revision("aaaa", "one")
    assert _alembic.failed_in_hook(in_hook.value)
    (tmp_path / "script.py.mako").unlink()
    with pytest.raises(OSError, match="No such file") as before:
        directory.generate_revision("bbbb", "two", head="base")
    assert not _alembic.failed_in_hook(before.value)


def test_unwritable_operation() -> None:
    """What Alembic cannot write as Python is named; whatever else fails is not."""
    table = sa.Table("one", sa.MetaData(), sa.Column("id", sa.Integer))
    index = sa.Index("odd", table.c.id, sa.ColumnElement())
    operations = ops.UpgradeOps([ops.CreateIndexOp.from_index(index)])
    with pytest.raises(sa.exc.CompileError) as caught:
        render_python_code(operations)
    assert _alembic.unwritable_operation(caught.value) == "Index 'odd' of table 'one'"
    assert _alembic.unwritable_operation(ValueError()) == ""


def test_version_table() -> None:
    """A context's version table has the name and the schema that were configured."""
    options = {"version_table": "versions", "version_table_schema": "log"}
    context = MigrationContext.configure(dialect_name="postgresql", opts=options)
    assert _alembic.version_table(context).fullname == "log.versions"


def test_refuse_parameters() -> None:
    """Offline a connection writes statements, and refuses to lose their parameters."""
    output = StringIO()
    options = {"as_sql": True, "output_buffer": output}
    context = MigrationContext.configure(dialect_name="postgresql", opts=options)
    _alembic.refuse_parameters(context)
    connection = Operations(context).get_bind()
    connection.execute(sa.text("SELECT 1"))
    with pytest.raises(TypeError, match="SQL parameters not allowed"):
        connection.execute(sa.text("SELECT :x"), {"x": 1})
    assert output.getvalue() == "SELECT 1;\n\n"


def test_intercept_sequences() -> None:
    """The default of the column that owns its sequence is dropped, any other one is kept."""
    context = MigrationContext.configure(dialect_name="postgresql")
    _alembic.intercept_sequences(context, lambda _: {"a_id_seq": "id", "free": None})
    table = sa.Table("a", sa.MetaData())

    def reflect(**column: t.Any) -> dict[str, t.Any]:
        context.impl.autogen_column_reflect(None, table, column)  # type: ignore[no-untyped-call]
        return column

    default = "nextval('{}'::regclass)".format
    owned = reflect(name="id", type=sa.BIGINT(), default=default("a_id_seq"))
    assert "default" not in owned
    for name, type_, sequence in (
        ("other", sa.INTEGER(), "a_id_seq"),
        ("id", sa.SMALLINT(), "a_id_seq"),
        ("id", sa.INTEGER(), "free"),
    ):
        assert "default" in reflect(name=name, type=type_, default=default(sequence))
    assert reflect(name="id", type=sa.INTEGER(), default="1")["default"] == "1"
    with pytest.raises(AttributeError, match="_operation_context"):  # Alembic asks the inspector
        reflect(name="id", type=sa.INTEGER(), default=default("elsewhere.seq"))


def test_cache_tables(tmp_path: Path) -> None:
    """What is read of several schemas is what Alembic looks into, and it reads nothing more."""
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'test.db'}")
    with engine.connect() as connection:
        connection.exec_driver_sql("ATTACH ':memory:' AS other")
        connection.exec_driver_sql("CREATE TABLE one (id INTEGER)")
        connection.exec_driver_sql("CREATE TABLE other.two (id INTEGER)")
        inspector = sa.inspect(connection)
        schemas = {None: (["one"], ["one"]), "other": (["two"], ["two"])}
        _alembic.cache_tables(inspector, t.cast("t.Any", schemas))
        sa.event.listen(engine, "before_cursor_execute", lambda *_: pytest.fail("it reads again"))
        for schema, name in ((None, "one"), ("other", "two")):
            table = sa.Table(name, sa.MetaData(), schema=schema)
            _InspectorConv(inspector).reflect_table(table)
            assert table.columns.keys() == ["id"]
    engine.dispose()
