"""What a revision does, read from its script without running it."""

from __future__ import annotations

from pathlib import Path
import textwrap

from alembic.operations import MigrateOperation
from alembic.operations import Operations
import pytest

from flask_dbmigrate import Operation
from flask_dbmigrate.script.operations import read_operations

HEAD = "from alembic import op\nimport sqlalchemy as sa\n\n"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(source: str, function: str = "upgrade", engine_name: str | None = None) -> list[Operation]:
    """Read a script."""
    Path("aaa_.py").write_text(source)
    return list(read_operations(str(Path("aaa_.py")), function, engine_name=engine_name))


def of_body(body: str) -> list[Operation]:
    """Read an ``upgrade()`` of these statements; its first line is line 5."""
    return read(f"{HEAD}def upgrade():\n{textwrap.indent(textwrap.dedent(body), '    ')}\n")


def texts(operations: list[Operation]) -> list[str]:
    """What is shown of each, without its line."""
    return [operation.text for operation in operations]


@pytest.mark.parametrize(
    ("call", "kind", "table", "schema", "name", "text"),
    [
        (
            "create_table('user', sa.Column('id', sa.Integer))",
            *("create_table", "user", None, None, "create table 'user'"),
        ),
        (
            "create_table('user', sa.Column('id', sa.Integer), schema='s')",
            *("create_table", "user", "s", None, "create table 's.user'"),
        ),
        ("drop_table('user')", "drop_table", "user", None, None, "drop table 'user'"),
        (
            "drop_table(table_name='user', schema='s', if_exists=True)",
            *("drop_table", "user", "s", None, "drop table 's.user'"),
        ),
        ("rename_table('a', 'b')", "rename_table", "a", None, "b", "rename table 'a' to 'b'"),
        (
            "add_column('user', sa.Column('name', sa.String()))",
            *("add_column", "user", None, "name", "add column 'user.name'"),
        ),
        (
            "drop_column('user', column_name='name', schema='s')",
            *("drop_column", "user", "s", "name", "drop column 's.user.name'"),
        ),
        (
            "alter_column('user', 'name', existing_type=sa.Text(), nullable=False)",
            *("alter_column", "user", None, "name", "alter column 'user.name': nullable=False"),
        ),
        (
            "alter_column('user', 'name', new_column_name='n', type_=sa.Text(), comment=None)",
            *("alter_column", "user", None, "name"),
            "alter column 'user.name': new_column_name='n', type=sa.Text(), comment=None",
        ),
        (
            "create_index(op.f('ix_user_name'), 'user', ['name'], unique=True)",
            *("create_index", "user", None, "ix_user_name"),
            "create index 'ix_user_name' on 'user'",
        ),
        ("drop_index('ix')", "drop_index", None, None, "ix", "drop index 'ix'"),
        (
            "drop_index(op.f('ix'), table_name='user')",
            *("drop_index", "user", None, "ix", "drop index 'ix' on 'user'"),
        ),
        (
            "create_unique_constraint(None, 'user', ['name'])",
            *("create_unique_constraint", "user", None, None),
            "create unique constraint on 'user'",
        ),
        (
            "create_foreign_key('fk', 'post', 'user', ['a'], ['id'], source_schema='s')",
            *("create_foreign_key", "post", "s", "fk", "create foreign key 'fk' on 's.post'"),
        ),
        (
            "drop_constraint('uq', 'user', type_='unique')",
            *("drop_constraint", "user", None, "uq", "drop constraint 'uq' on 'user'"),
        ),
        (
            "create_table_comment('user', 'All users')",
            *("create_table_comment", "user", None, None, "create table comment on 'user'"),
        ),
        (
            "bulk_insert(sa.table('user', sa.column('id')), [{'id': 1}])",
            *("bulk_insert", "user", None, None, "bulk insert into 'user'"),
        ),
        (
            "execute('UPDATE user\\n   SET name = 1')",
            *("execute", None, None, None, "execute UPDATE user SET name = 1"),
        ),
        (
            "execute(sa.text('DELETE ' 'FROM user'))",
            *("execute", None, None, None, "execute DELETE FROM user"),
        ),
        (
            "execute(users.delete())",
            *("execute", None, None, None, "execute {users.delete()}"),
        ),
        ("drop_table(NAME)", "drop_table", None, None, None, "drop table '{NAME}'"),
        (
            "drop_table('user', schema=SCHEMA)",
            *("drop_table", None, None, None, "drop table '{SCHEMA}.user'"),
        ),
    ],
)
def test_operations(
    call: str, kind: str, table: str | None, schema: str | None, name: str | None, text: str
) -> None:
    """A call of ``op`` is read with its table, its object and its line."""
    (operation,) = of_body(f"op.{call}")
    assert operation == Operation(kind, table, schema, name, text, "aaa_.py", 5)
    assert str(operation) == f"{text} (line 5)"


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ("add_column(sa.Column('name', sa.Text()))", "add column 's.user.name'"),
        ("drop_column('name')", "drop column 's.user.name'"),
        ("alter_column('name', nullable=True)", "alter column 's.user.name': nullable=True"),
        ("create_index(batch_op.f('ix'), ['name'])", "create index 'ix' on 's.user'"),
        ("drop_constraint('uq', type_='unique')", "drop constraint 'uq' on 's.user'"),
        (
            "create_foreign_key('fk', 'group', ['a'], ['id'])",
            "create foreign key 'fk' on 's.user'",
        ),
    ],
)
@pytest.mark.parametrize("variable", ["batch_op", "b"])
def test_operations_of_a_batch(call: str, text: str, variable: str) -> None:
    """A call of a batch, whatever it is called, is about the batch's table."""
    call = call.replace("batch_op", variable)
    found = of_body(
        f"""\
        with op.batch_alter_table("user", schema="s") as {variable}:
            {variable}.{call}
        """
    )
    assert texts(found) == [text]
    assert (found[0].table, found[0].schema, found[0].line) == ("user", "s", 6)


def test_two_batches_with_one_name() -> None:
    """The same variable stands for one table after the other."""
    body = "".join(
        f"with op.batch_alter_table('{table}') as batch_op:\n    batch_op.drop_column('x')\n"
        for table in ("a", "b")
    )
    assert texts(of_body(body)) == ["drop column 'a.x'", "drop column 'b.x'"]


def test_long_sql_is_shortened() -> None:
    """A long statement is shown up to the end of a line."""
    (operation,) = of_body(f"op.execute('INSERT {'x' * 200}')")
    assert operation.text == f"execute INSERT {'x' * 72}…"


@pytest.mark.parametrize(
    ("imported", "owner"), [("from alembic import op as o", "o"), ("import alembic", "alembic.op")]
)
def test_other_names_of_op(imported: str, owner: str) -> None:
    """``op`` may be called otherwise where it is imported from ``alembic``."""
    found = read(f"{imported}\ndef upgrade():\n    {owner}.drop_table('a')\n")
    assert texts(found) == ["drop table 'a'"]


def test_names_in_variables() -> None:
    """A name that is a constant of the script, or was set before, is read."""
    source = f"""{HEAD}
TABLE = "user"
SCHEMA: str = "s"

def upgrade():
    column = "name"
    users = sa.table("users", sa.column("id"))
    made = op.create_table("made", sa.Column("id", sa.Integer))
    op.drop_column(TABLE, column, schema=SCHEMA)
    op.bulk_insert(users, [])
    op.bulk_insert(made, [])
    column = compute()
    op.drop_column(TABLE, column)
"""
    assert texts(read(source)) == [
        "create table 'made'",
        "drop column 's.user.name'",
        "bulk insert into 'users'",
        "bulk insert into 'made'",
        "runs Python (aaa_.py:15)",
        "drop column 'user.{column}'",
    ]


@pytest.mark.parametrize(
    "body", ["pass", '"""A docstring."""', "...", "import json", "from json import loads"]
)
def test_nothing(body: str) -> None:
    """A script that does nothing has no operations."""
    assert of_body(body) == []


@pytest.mark.parametrize(
    ("body", "contains"),
    [
        ("connection = op.get_bind()", []),
        ("op.get_bind().execute(sa.text('DROP TABLE a'))", []),
        ("for name in names:\n    op.drop_table(name)", ["drop table '{name}'"]),
        ("if names:\n    op.drop_table('a')\nelse:\n    x()", ["drop table 'a'"]),
        ("[op.drop_column('a', name) for name in names]", ["drop column 'a.{name}'"]),
        ("try:\n    op.drop_table('a')\nexcept Exception:\n    pass", ["drop table 'a'"]),
        (
            "if names:\n    with op.batch_alter_table('a') as b:\n        b.drop_column('x')",
            ["drop column 'a.x'"],
        ),
        ("with lock() as b:\n    op.drop_table('a')", ["drop table 'a'"]),
        ("unknown()", []),
        ("op.run_async(work)", []),
        ("op.no_operation('a')", []),
        ("op.drop_table('a', 'b', 'c', 'd', 'e')", []),
        ("users.op.drop_table('a')", []),
        ("raise NotImplementedError", []),
        ("return", []),
    ],
)
def test_what_cannot_be_read(body: str, contains: list[str]) -> None:
    """Whatever else a script does is shown with its place, and the operations in it are known."""
    (operation,) = of_body(body)
    assert operation.kind == "python"
    assert str(operation) == "runs Python (aaa_.py:5)"
    assert texts(list(operation.contains)) == contains


def test_python_in_a_row() -> None:
    """Several statements in a row that cannot be read have one entry."""
    found = of_body("a()\nb()\nop.drop_table('a')\nc()")
    assert texts(found) == ["runs Python (aaa_.py:5)", "drop table 'a'", "runs Python (aaa_.py:8)"]


def test_autocommit_block() -> None:
    """What is done in an ``autocommit_block()`` is read like anything else."""
    found = of_body(
        """\
        with op.get_context().autocommit_block():
            op.create_index("ix", "a", ["b"], postgresql_concurrently=True)
        """
    )
    assert texts(found) == ["create index 'ix' on 'a'"]


def test_functions_of_the_script() -> None:
    """A function of the script is followed, one level deep; one with arguments is not."""
    source = f"""{HEAD}
def upgrade():
    first()
    third("c")

def first():
    op.drop_table("a")
    second()

def second():
    op.drop_table("b")
    second()

def third(table):
    op.drop_table(table)
"""
    found = read(source)
    assert [str(operation) for operation in found] == [
        "drop table 'a' (line 10)",
        "runs Python (aaa_.py:11)",
    ]
    assert texts(list(found[1].contains)) == ["drop table 'b'", "drop table '{table}'"]


@pytest.mark.parametrize(
    ("source", "contains"),
    [
        ("upgrade = print\n", []),
        ("@decorated\ndef upgrade():\n    op.drop_table('a')\n", ["drop table 'a'"]),
    ],
)
def test_no_plain_function(source: str, contains: list[str]) -> None:
    """A script whose function is decorated, or no function, runs Python."""
    (operation,) = read(HEAD + source)
    assert (operation.kind, texts(list(operation.contains))) == ("python", contains)


def test_compiled_script() -> None:
    """A script without a source runs Python."""
    assert [str(found) for found in read_operations("aaa_.pyc", "upgrade")] == [
        "runs Python (aaa_.pyc:1)"
    ]


def test_operation_of_a_plugin() -> None:
    """An operation that a plugin of Alembic has registered is shown with its arguments."""

    @Operations.register_operation("refresh_view")
    class RefreshView(MigrateOperation):
        @classmethod
        def refresh_view(cls, operations: Operations, view_name: str) -> None:
            """Never called here."""

    assert texts(of_body("op.refresh_view('sums')")) == ["refresh view 'sums'"]


OURS = """
def upgrade(engine_name: str) -> None:
    \"\"\"Upgrade the database of a bind key.\"\"\"
    run = {
        '': upgrade_,
        'user-data': upgrade_user_data,
    }
    if engine_name in run:
        run[engine_name]()

def upgrade_():
    op.drop_table("a")

def upgrade_user_data():
    op.drop_table("b")
    common()

def common():
    op.drop_table("c")
"""

FLASK_MIGRATE = """
def upgrade(engine_name):
    globals()["upgrade_%s" % engine_name]()

def upgrade_():
    op.drop_table("a")

def upgrade_reports():
    op.drop_table("b")
"""

EVAL = FLASK_MIGRATE.replace("globals()[", "eval(").replace("]()", ")()")

ONE_BODY = """
def upgrade(engine_name):
    op.drop_table("a")
    if engine_name == "reports":
        op.drop_table("b")
"""

SINGLE = """
def upgrade():
    op.drop_table("a")
"""


@pytest.mark.parametrize(
    ("source", "engine_name", "expected"),
    [
        (OURS, "", ["drop table 'a'"]),
        (OURS, "user-data", ["drop table 'b'", "drop table 'c'"]),
        (OURS, "later", []),
        (FLASK_MIGRATE, "", ["drop table 'a'"]),
        (FLASK_MIGRATE, "reports", ["drop table 'b'"]),
        (FLASK_MIGRATE, "later", []),
        (
            FLASK_MIGRATE.replace("globals()[", "eval(").replace("]()", ")()"),
            "",
            ["drop table 'a'"],
        ),
        (
            FLASK_MIGRATE.replace('"upgrade_%s" % engine_name', 'f"upgrade_{engine_name}"'),
            "reports",
            ["drop table 'b'"],
        ),
        (FLASK_MIGRATE, None, ["drop table 'a'"]),
        (ONE_BODY, "", ["drop table 'a'", "runs Python (aaa_.py:7)"]),
        (SINGLE, "", ["drop table 'a'"]),
        (SINGLE, "reports", []),
        (SINGLE, None, ["drop table 'a'"]),
    ],
)
def test_scripts_for_several_databases(
    source: str, engine_name: str | None, expected: list[str]
) -> None:
    """Of a script for several databases the operations of one are read."""
    assert texts(read(HEAD + source, engine_name=engine_name)) == expected


def test_downgrade() -> None:
    """``upgrade()`` and ``downgrade()`` are read apart."""
    source = OURS + OURS.replace("upgrade", "downgrade").replace("drop", "rename")
    source = HEAD + source.replace('rename_table("', 'create_table("')
    assert texts(read(source, "downgrade", "")) == ["create table 'a'"]
    assert texts(read(source, "upgrade", "")) == ["drop table 'a'"]
