"""``--sql``: one or several databases, any range, to stdout or to files."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
import typing as t

from harness import Application
from harness import Project
import pytest
import sqlalchemy as sa

import flask_dbmigrate
from flask_dbmigrate import ConfigurationError
from flask_dbmigrate import MigrationError


@pytest.fixture
def folder(tmp_path: Path) -> Project:
    """The folder of the application, to write revisions to."""
    return Project(tmp_path, f"sqlite:///{tmp_path / 'test.db'}")


@pytest.fixture
def one(application: Application) -> Iterator[Application]:
    """An application with one database and a directory, its context pushed."""
    with application.app.app_context():
        flask_dbmigrate.init()
        yield application


@pytest.fixture
def several(make_application: Callable[..., Application], tmp_path: Path) -> Iterator[Application]:
    """An application with three databases and a directory, its context pushed."""
    binds = {key: f"sqlite:///{tmp_path / str(number)}.db" for number, key in enumerate(KEYS)}
    application = make_application(binds=binds)
    with application.app.app_context():
        flask_dbmigrate.init(multidb=True)
        yield application


KEYS = ("user-data", "a/b c")


def run(application: Application, *arguments: str) -> tuple[int, str, str]:
    """Type a command; return its exit code, stdout and stderr."""
    done = application.app.test_cli_runner().invoke(args=["db", *arguments])
    return done.exit_code, done.stdout, done.stderr


def test_files(several: Application) -> None:
    """``--output`` writes a file for each database, and its name on stdout."""
    flask_dbmigrate.migrate(rev_id="aaa")
    flask_dbmigrate.upgrade(sql=True, output="unused")
    code, out, _ = run(several, "upgrade", "--sql", "--output", "sql/out")
    paths = ["sql/out/default.sql", "sql/out/user-data.sql", "sql/out/a%2Fb c.sql"]
    assert (code, out.splitlines()) == (0, paths)
    assert sorted(map(str, Path("sql").rglob("*.*"))) == sorted(paths)
    texts = [Path(path).read_text() for path in paths]
    assert ["CREATE TABLE user" in text for text in texts] == [True, False, False]
    assert ["CREATE TABLE item" in text for text in texts] == [False, True, True]
    assert ["INSERT INTO alembic_version" in text for text in texts] == [True, True, True]
    done = flask_dbmigrate.upgrade(sql=True, output=Path("sql/out"))
    assert [found.file for found in done.databases] == paths


def test_file_of_one_database(one: Application) -> None:
    """An application with one database has one file; stamps and downgrades are written, too."""
    flask_dbmigrate.migrate(rev_id="aaa")
    for command, arguments, expected in (
        ("upgrade", ["aaa"], "CREATE TABLE user"),
        ("downgrade", ["aaa:base"], "DROP TABLE user"),
        ("stamp", ["aaa"], "INSERT INTO alembic_version"),
        ("ensure-version", [], "CREATE TABLE alembic_version"),
    ):
        code, out, _ = run(one, command, "--sql", "--output", "out", *arguments)
        assert (code, out) == (0, "out/default.sql\n")
        assert expected in Path("out/default.sql").read_text()


def test_some_databases(several: Application) -> None:
    """``--database`` chooses offline as well."""
    flask_dbmigrate.migrate(rev_id="aaa")
    code, out, _ = run(several, "upgrade", "--sql", "--database", "user-data")
    assert (code, out.count("CREATE TABLE item"), "CREATE TABLE user" in out) == (0, 1, False)
    run(several, "upgrade", "--sql", "--database", "user-data", "--output", "out")
    assert list(Path("out").iterdir()) == [Path("out/user-data.sql")]


def test_output_without_sql(one: Application) -> None:
    """``--output`` alone would change the database: it is refused."""
    with pytest.raises(ConfigurationError, match="'--output' is the folder for the files"):
        flask_dbmigrate.upgrade(output="out")


def test_output_that_cannot_be_written(one: Application) -> None:
    """A folder that cannot be made is named."""
    Path("file").touch()
    with pytest.raises(ConfigurationError, match=r"cannot be written to 'file/out/default.sql'"):
        flask_dbmigrate.upgrade(sql=True, output="file/out")


@pytest.fixture
def three(one: Application, folder: Project) -> Application:
    """Three revisions, each with a table."""
    for name, down in (("aaa", None), ("bbb", "aaa"), ("ccc", "bbb")):
        folder.revision(
            name,
            down,
            upgrade=[f"op.create_table('t_{name}', sa.Column('id', sa.Integer))"],
            downgrade=[f"op.drop_table('t_{name}')"],
        )
    return one


@pytest.mark.parametrize(
    ("command", "target", "created", "dropped"),
    [
        ("upgrade", "head", "abc", ""),
        ("upgrade", "bbb", "ab", ""),
        ("upgrade", "base:bbb", "ab", ""),
        ("upgrade", "aaa:ccc", "bc", ""),
        ("upgrade", "aaa:head", "bc", ""),
        ("upgrade", "aaa:+1", "b", ""),
        ("upgrade", "+2", "ab", ""),
        ("downgrade", "-1", "", "c"),
        ("downgrade", "head:-2", "", "cb"),
        ("downgrade", "bbb:base", "", "ba"),
        ("downgrade", "ccc:aaa", "", "cb"),
        ("downgrade", "head:base", "", "cba"),
    ],
)
def test_any_range(
    three: Application,
    capsys: pytest.CaptureFixture[str],
    command: str,
    target: str,
    created: str,
    dropped: str,
) -> None:
    """The SQL of any range can be had, up and down."""
    getattr(flask_dbmigrate, command)(revision=target, sql=True)
    words = capsys.readouterr().out.split()
    for verb, expected in (("CREATE", created), ("DROP", dropped)):
        found = [
            word.removeprefix("t_").rstrip(";")
            for before, kind, word in zip(words, words[1:], words[2:], strict=False)
            if before == verb and kind == "TABLE" and word.startswith("t_")
        ]
        assert found == [letter * 3 for letter in expected]


NEEDS_CONNECTION = {
    "fetch": ["op.get_bind().execute(sa.text('SELECT 1')).fetchall()"],
    "inspect": ["sa.inspect(op.get_bind())"],
    "iterate": ["[row for row in op.execute('SELECT 1')]"],
    "session": [
        "from sqlalchemy.orm import Session",
        "Session(op.get_bind()).execute(sa.text('SELECT 1'))",
    ],
    "batch": [
        "with op.batch_alter_table('user') as batch_op:",
        "    batch_op.alter_column('name', nullable=False)",
    ],
    "application": [
        "from flask import current_app",
        "session = current_app.extensions['sqlalchemy'].session",
        "session.execute(sa.text('CREATE TABLE written (id INTEGER)'))",
        "session.commit()",
    ],
}


@pytest.mark.parametrize("kind", NEEDS_CONNECTION)
def test_revision_that_needs_a_connection(
    one: Application, folder: Project, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    """A revision that works on data says so with file and line; nothing is run or written."""
    lines = NEEDS_CONNECTION[kind]
    table = "op.create_table('one', sa.Column('id', sa.Integer))"
    path = folder.revision("aaa", upgrade=[table, *lines])
    with pytest.raises(MigrationError) as caught:
        flask_dbmigrate.upgrade(sql=True, output="out")
    source = path.read_text().splitlines()
    wanted = next(
        number
        for number, line in enumerate(source, 1)
        if line.strip() in lines and ("get_bind" in line or "execute" in line or "with" in line)
    )
    assert caught.value.message.startswith(
        f"Revision 'aaa' needs a connection to the database (migrations/versions/aaa_.py, "
        f"line {wanted}), and with '--sql' there is none: "
    )
    assert "op.execute()" in caught.value.hint
    assert not Path("out").exists()
    with pytest.raises(MigrationError):
        flask_dbmigrate.upgrade(sql=True)
    assert capsys.readouterr().out == ""
    assert folder.inspect() == []


def test_statements_of_a_connection(
    one: Application, folder: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a revision executes on its connection is written like the rest."""
    statement = "UPDATE user SET name = 'x'"
    folder.revision("aaa", upgrade=[f'op.get_bind().execute(sa.text("{statement}"))'])
    flask_dbmigrate.upgrade(sql=True)
    assert f"{statement};" in capsys.readouterr().out


NO_SQL = {
    "json": "op.execute(TABLE.insert().values(a={'b': 1}))",
    "rows": "op.bulk_insert(TABLE, [{'a': [1]}])",
    "several": "op.execute(TABLE.insert().values([{'a': {}}]))",
    "parameters": "op.get_bind().execute(sa.text('SELECT :x'), {'x': 1})",
    "default": "op.get_bind().execute(sa.text('SELECT :x').bindparams(x=1), {'x': 2})",
    "no value": "op.execute('SELECT :x')",
    "colon": "op.execute(\"INSERT INTO t VALUES ('see :x')\")",
    "columns": "op.get_bind().execute(TABLE.insert())",
}
LITERALS = ["", ", literal_binds=True", ", literal_binds=False"]


def old_env_py(options: str = "") -> None:
    """Have an env.py that writes offline as Flask-Migrate's does."""
    Path("migrations/env.py").write_text(
        "from alembic import context\nfrom flask import current_app\n"
        "url = current_app.extensions['migrate'].db.engine.url\n"
        f"context.configure(url=str(url){options})\n"
        "with context.begin_transaction():\n    context.run_migrations()\n"
    )


@pytest.mark.parametrize("kind", NO_SQL)
def test_value_that_cannot_be_written(
    one: Application, folder: Project, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    """A revision with a value that SQL cannot show is named with its line; nothing is written."""
    old_env_py()
    table = "TABLE = sa.table('t', sa.column('a', sa.JSON))"
    path = folder.revision("aaa", upgrade=["op.execute('SELECT 1')", NO_SQL[kind]], extra=table)
    line = path.read_text().splitlines().index(f"    {NO_SQL[kind]}") + 1
    place = rf"\(migrations/versions/aaa_\.py, line {line}\)"
    for output in (None, "out"):
        with pytest.raises(MigrationError, match=f"'aaa' has a value .* written as SQL {place}"):
            flask_dbmigrate.upgrade(sql=True, output=output)
    assert (capsys.readouterr().out, Path("out").exists()) == ("", False)


@pytest.mark.parametrize("options", LITERALS)
def test_values_are_written(
    one: Application, folder: Project, capsys: pytest.CaptureFixture[str], options: str
) -> None:
    """Values are in the SQL, whatever env.py says of ``literal_binds`` or does not say."""
    old_env_py(options)
    table = "TABLE = sa.table('t', sa.column('a', sa.String))"
    folder.revision("aaa", upgrade=["op.execute(TABLE.insert().values(a='it\\'s'))"], extra=table)
    flask_dbmigrate.upgrade(sql=True)
    assert "VALUES ('it''s')" in capsys.readouterr().out


VALUES = """
import datetime
class Secret(sa.types.TypeDecorator):
    impl = sa.LargeBinary
    cache_ok = True
BYTES = bytes([0, 92, 39, 255]) + b"x41"
ROW = {
    "a": (sa.LargeBinary, BYTES),
    "b": (Secret, BYTES),
    "c": (sa.PickleType, {1}),
    "d": (sa.DateTime, datetime.datetime(2020, 1, 2, 3)),
    "e": (sa.String(50), "it's 100 % \\\\ é"),
    "f": (sa.Boolean, True),
}
"""


@pytest.mark.parametrize("fixture", ["sqlite_url", "postgresql_url", "mysql_url"])
def test_written_values_are_those_sent(
    request: pytest.FixtureRequest,
    start: Callable[..., Application],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    fixture: str,
) -> None:
    """What the SQL inserts is what an upgrade inserts, bytes and backslashes, too."""
    url = request.getfixturevalue(fixture)
    application = start(url=url)
    upgrade = [
        "columns = [sa.Column(name, type_) for name, (type_, _) in ROW.items()]",
        "table = op.create_table('t', *columns)",
        "op.execute(table.insert().values({name: value for name, (_, value) in ROW.items()}))",
    ]
    Project(tmp_path, url).revision("aaa", upgrade=upgrade, extra=VALUES)
    flask_dbmigrate.upgrade()
    flask_dbmigrate.upgrade(sql=True)
    statements = capsys.readouterr().out.split(";\n")
    insert = next(line for line in statements if "INSERT INTO t" in line)
    with application.db.engine.begin() as connection:
        connection.connection.cursor().execute(insert)
        rows = connection.exec_driver_sql("SELECT * FROM t").all()
    assert len(rows) == 2
    assert rows[0] == rows[1]


def test_error_of_another_kind(one: Application, folder: Project) -> None:
    """Any other error of a revision is reported as it is."""
    folder.revision("aaa", upgrade=["{}['missing']"])
    with pytest.raises(MigrationError, match=r"Revision 'aaa' failed .*: KeyError: 'missing'"):
        flask_dbmigrate.upgrade(sql=True)


def test_session_works_again(one: Application, folder: Project) -> None:
    """After a run with ``--sql`` the application's session is as it was."""
    folder.revision("aaa")
    flask_dbmigrate.upgrade(sql=True, output="out")
    with one.db.engine.begin() as connection:
        assert connection.scalar(sa.text("SELECT 1")) == 1


@pytest.mark.parametrize(
    "env_py", [None, "context.configure(url=str(db.engine.url), target_metadata=db.metadata)"]
)
def test_same_options_as_online(
    make_application: Callable[..., t.Any],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    env_py: str | None,
) -> None:
    """The options of ``Migrate`` and of ``run_migrations()`` count offline as online."""
    application = make_application(version_table="versions", transaction_per_migration=True)
    with application.app.app_context():
        flask_dbmigrate.init()
        if env_py is not None:
            Path("migrations/env.py").write_text(
                "from alembic import context\nfrom flask import current_app\n"
                f"db = current_app.extensions['migrate'].db\n{env_py}\n"
                "with context.begin_transaction():\n    context.run_migrations()\n"
            )
        Project(tmp_path, "sqlite://").revision("aaa")
        flask_dbmigrate.upgrade(sql=True)
        text = capsys.readouterr().out
    assert "CREATE TABLE versions" in text
    assert "alembic_version" not in text


def test_percent_sign_under_an_old_env_py(
    application: Application, capsys: pytest.CaptureFixture[str], folder: Project
) -> None:
    """SQL is written as the DBMS understands it, also by an env.py that names no paramstyle."""
    with application.app.app_context():
        flask_dbmigrate.init()
        Path("migrations/env.py").write_text(
            "from alembic import context\n"
            "context.configure(url='mysql+pymysql://', literal_binds=True)\n"
            "with context.begin_transaction():\n    context.run_migrations()\n"
        )
        column = "sa.Column('id', sa.Integer, comment='50% of it')"
        folder.revision("aaa", upgrade=[f"op.create_table('one', {column})"])
        flask_dbmigrate.upgrade(sql=True)
    assert "COMMENT '50% of it'" in capsys.readouterr().out
