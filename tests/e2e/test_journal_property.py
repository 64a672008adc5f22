"""Whatever a revision does, and whenever its runs are killed, the last one completes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import replace
import os
import re
import typing as t

from crashes import CrashPlace
from crashes import of_revision
from harness import Killer
from hypothesis import given
from hypothesis import note
from hypothesis import Phase
from hypothesis import settings
from hypothesis import strategies as st
import pytest
import servers

BEFORE = (
    "CREATE TABLE counter (n INTEGER)",
    "INSERT INTO counter VALUES (1)",
    "CREATE TABLE told (word VARCHAR(20))",
    "CREATE TABLE a (k INTEGER, x INTEGER)",
    "INSERT INTO a VALUES (1, 1), (2, 2)",
    "CREATE TABLE b (k INTEGER)",
    "INSERT INTO b VALUES (3)",
)

# A try takes about a second, and a script that fails has few lines: it is not made shorter.
TRIES = settings(
    deadline=None,
    max_examples=15,
    derandomize="CI" in os.environ,
    phases=set(Phase) - {Phase.shrink, Phase.explain},
)

NO_KEY = ("x", "y", "z")


@dataclass(frozen=True)
class Schema:
    """What there is when a script has come so far.

    :param tables: The columns of each table; the first one, ``k``, is there to stay.
    :param indexes: The table and the column of each index that has a name.
    """

    tables: dict[str, tuple[str, ...]]
    indexes: dict[str, tuple[str, str]]

    def table(self, name: str, columns: tuple[str, ...] | None) -> Schema:
        """Change the columns of a table; without any it is dropped."""
        tables = {**self.tables, name: columns or ()}
        found = {
            index: place
            for index, place in self.indexes.items()
            if place[0] != name or place[1] in tables[name]
        }
        return Schema({one: has for one, has in tables.items() if has}, found)

    def renamed(self, table: str, new: str) -> Schema:
        """Change the name of a table."""
        tables = {new if one == table else one: has for one, has in self.tables.items()}
        found = {
            index: (new if one == table else one, column)
            for index, (one, column) in self.indexes.items()
        }
        return Schema(tables, found)

    def renamed_column(self, table: str, column: str, new: str) -> Schema:
        """Change the name of a column."""
        columns = tuple(new if one == column else one for one in self.tables[table])
        found = {
            index: (one, new) if (one, of) == (table, column) else (one, of)
            for index, (one, of) in self.indexes.items()
        }
        return Schema({**self.tables, table: columns}, found)


Step = tuple[str, Schema]
"""An operation, and what there is after it."""


def sql(statement: str) -> str:
    """An operation that executes a statement."""
    return f"op.execute({statement!r})"


def changes_of_data(schema: Schema) -> Iterator[Step]:
    yield sql("UPDATE counter SET n = n * 3 + 1"), schema
    yield "op.bulk_insert(sa.table('b', sa.column('k')), [{'k': 8}, {'k': 9}])", schema
    for table, columns in schema.tables.items():
        yield sql(f"INSERT INTO {table} (k) SELECT n FROM counter"), schema
        yield sql(f"DELETE FROM {table} WHERE k > 99"), schema
        for column in columns:
            yield sql(f"UPDATE {table} SET {column} = COALESCE({column}, 1) * 2 + 1"), schema


def changes_of_tables(schema: Schema) -> Iterator[Step]:
    for name in "acd":
        if name not in schema.tables:
            columns = "sa.Column('k', sa.Integer), sa.Column('x', sa.Integer)"
            yield f"op.create_table('{name}', {columns})", schema.table(name, ("k", "x"))
            for table in set(schema.tables) - {"b"}:
                yield f"op.rename_table('{table}', '{name}')", schema.renamed(table, name)
        else:
            yield f"op.drop_table('{name}')", schema.table(name, None)


def changes_of_columns(schema: Schema) -> Iterator[Step]:
    for table, columns in schema.tables.items():
        for column in NO_KEY:
            if column in columns:
                type_ = "type_=sa.BigInteger(), existing_type=sa.Integer()"
                yield f"op.alter_column('{table}', '{column}', {type_})", schema
                rest = tuple(one for one in columns if one != column)
                yield f"op.drop_column('{table}', '{column}')", schema.table(table, rest)
                continue
            new = f"sa.Column('{column}', sa.Integer)"
            yield f"op.add_column('{table}', {new})", schema.table(table, (*columns, column))
            for old in columns[1:]:
                change = f"new_column_name='{column}', existing_type=sa.Integer()"
                after = schema.renamed_column(table, old, column)
                yield f"op.alter_column('{table}', '{old}', {change})", after


def changes_of_indexes(schema: Schema, more: str = "") -> Iterator[Step]:
    for name in "ij":
        if name in schema.indexes:
            table, _ = schema.indexes[name]
            rest = {one: place for one, place in schema.indexes.items() if one != name}
            yield f"op.drop_index('{name}', '{table}'{more})", replace(schema, indexes=rest)
            continue
        for table, columns in schema.tables.items():
            for column in columns:
                made = {**schema.indexes, name: (table, column)}
                after = replace(schema, indexes=made)
                yield f"op.create_index('{name}', '{table}', ['{column}']{more})", after


def mysql_session(schema: Schema) -> Iterator[Step]:
    for digits in (1, 2):
        yield sql(f"SET SESSION div_precision_increment = {digits}"), schema
        yield sql(f"INSERT INTO told SELECT {digits} / 3"), schema


def mysql_specials(schema: Schema) -> Iterator[Step]:
    yield sql("CREATE OR REPLACE VIEW v AS SELECT n FROM counter"), schema
    for table in schema.tables:
        yield sql(f"ALTER TABLE {table} ADD INDEX (k)"), schema
        yield sql(f"ANALYZE TABLE {table}"), schema


def postgresql_session(schema: Schema) -> Iterator[Step]:
    for word in ("one", "two"):
        yield sql(f"SET my.word = '{word}'"), schema
        yield sql("INSERT INTO told SELECT current_setting('my.word', true)"), schema


def outside_of_transactions(schema: Schema) -> Iterator[Step]:
    yield sql("CREATE OR REPLACE VIEW v AS SELECT n FROM counter"), schema
    yield from changes_of_indexes(schema, ", postgresql_concurrently=True")
    for table in schema.tables:
        yield sql(f"CREATE INDEX CONCURRENTLY ON {table} (k)"), schema
        yield sql(f"VACUUM {table}"), schema
        yield sql(f"REINDEX TABLE CONCURRENTLY {table}"), schema


Kind = t.Callable[[Schema], Iterator[Step]]
ANYWHERE: tuple[Kind, ...] = (
    changes_of_data,
    changes_of_data,
    changes_of_tables,
    changes_of_columns,
    changes_of_indexes,
)


@st.composite
def scripts(
    draw: st.DrawFn, *, kinds: tuple[Kind, ...], in_block: tuple[Kind, ...] = ()
) -> list[str]:
    """Write the function of a revision.

    :param kinds: What its operations may be.
    :param in_block: What those in an ``autocommit_block()`` may be, if there is that.
    """
    schema = Schema({"a": ("k", "x"), "b": ("k",)}, {})
    lines: list[str] = []
    for _ in range(draw(st.integers(1, 4))):
        is_block = bool(in_block) and draw(st.booleans())
        if is_block:
            lines.append("with op.get_context().autocommit_block():")
        for _ in range(draw(st.integers(1, 4))):
            kind = draw(st.sampled_from(in_block if is_block else kinds))
            steps = list(kind(schema)) or list(changes_of_data(schema))
            line, schema = draw(st.sampled_from(steps))
            lines.append(f"    {line}" if is_block else line)
    return lines


KILLS = st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=3)
"""When to kill each of the runs but the last, as a part of all moments."""


class Rig(t.NamedTuple):
    """A place, and the process that kills its upgrades."""

    place: CrashPlace
    killer: Killer
    is_committing: bool


@pytest.fixture(scope="module")
def mysql(tmp_path_factory: pytest.TempPathFactory, mysql_server: servers.MySQL) -> Iterator[Rig]:
    """A project on MariaDB."""
    with mysql_server.database("pymysql") as url:
        place = CrashPlace(tmp_path_factory.mktemp("mysql"), mysql_server, url, BEFORE)
        with Killer(place.project) as killer:
            yield Rig(place, killer, is_committing=True)


@pytest.fixture(scope="module")
def postgresql(
    tmp_path_factory: pytest.TempPathFactory, postgresql_server: servers.PostgreSQL
) -> Iterator[Rig]:
    """A project on PostgreSQL."""
    with postgresql_server.database("psycopg") as url:
        place = CrashPlace(tmp_path_factory.mktemp("postgresql"), postgresql_server, url, BEFORE)
        with Killer(place.project) as killer:
            yield Rig(place, killer, is_committing=False)


def completes(rig: Rig, script: list[str], kills: list[float]) -> None:
    """Kill some runs of a script, let one end, and compare with one that was not disturbed."""
    place, killer, is_committing = rig
    place.write(script)
    place.begin()
    whole = killer.run("upgrade")
    assert whole.code == 0, whole.output
    expected = place.state()
    moments = of_revision(whole)
    place.begin()
    for part in kills:
        moment = moments[int(part * len(moments))]
        is_schema = re.match("before\\s+(ALTER|CREATE|DROP)", moment) is not None
        killed = killer.run("upgrade", kill=moment, is_sent=is_committing and is_schema)
        note(f"{moment}: {killed.code}")
        assert killed.code in (-9, 0), killed.output
    code, said = place.again()
    assert code == 0, said
    assert place.state() == expected, said


@TRIES
@given(script=scripts(kinds=(*ANYWHERE, mysql_session, mysql_specials)), kills=KILLS)
def test_any_script_on_mysql(mysql: Rig, script: list[str], kills: list[float]) -> None:
    """On MariaDB each statement is executed once, and none is left out."""
    completes(mysql, script, kills)


@TRIES
@given(
    script=scripts(
        kinds=(*ANYWHERE, postgresql_session),
        in_block=(*ANYWHERE, postgresql_session, outside_of_transactions, outside_of_transactions),
    ),
    kills=KILLS,
)
def test_any_script_on_postgresql(postgresql: Rig, script: list[str], kills: list[float]) -> None:
    """So it is on PostgreSQL, in and around ``autocommit_block()``."""
    completes(postgresql, script, kills)
