"""A project whose upgrades are killed, and everything that is in its database then."""

from __future__ import annotations

from pathlib import Path
import re
import typing as t

from harness import Ended
from harness import execute
from harness import Killer
from harness import QuickProject
import servers
import sqlalchemy as sa

VERSION = (
    "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)",
    "INSERT INTO alembic_version VALUES ('aaa')",
)

# What 'SHOW CREATE' shows of each kind of object, and how to list them.
_MYSQL = {
    "TABLE": "SELECT table_name FROM information_schema.tables "
    "WHERE table_schema = DATABASE() AND table_type LIKE '%BASE TABLE'",
    "VIEW": "SELECT table_name FROM information_schema.views WHERE table_schema = DATABASE()",
    "TRIGGER": "SELECT trigger_name FROM information_schema.triggers "
    "WHERE trigger_schema = DATABASE()",
    "PROCEDURE": "SELECT routine_name FROM information_schema.routines "
    "WHERE routine_schema = DATABASE() AND routine_type = 'PROCEDURE'",
}

# PostgreSQL 15 documentation, chapter 53 "System Catalogs".
_POSTGRESQL = {
    "columns": "SELECT attrelid::regclass::text, attname, format_type(atttypid, atttypmod), "
    "attnotnull, pg_get_expr(adbin, adrelid), col_description(attrelid, attnum) "
    "FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum "
    "JOIN pg_class c ON c.oid = attrelid WHERE relnamespace = 'public'::regnamespace "
    "AND relkind IN ('r', 'v') AND attnum > 0 AND NOT attisdropped ORDER BY 1, attnum",
    "indexes": "SELECT pg_get_indexdef(indexrelid), indisvalid FROM pg_index "
    "JOIN pg_class c ON c.oid = indrelid WHERE relnamespace = 'public'::regnamespace ORDER BY 1",
    "constraints": "SELECT conname, conrelid::regclass::text, pg_get_constraintdef(oid) "
    "FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY 2, 1",
    "labels": "SELECT enumtypid::regtype::text, enumlabel FROM pg_enum ORDER BY 1, enumsortorder",
    "views": "SELECT viewname, definition FROM pg_views WHERE schemaname = 'public' ORDER BY 1",
}


def snapshot(url: str) -> dict[str, t.Any]:
    """Read all definitions and all rows, our own tables left out; nothing is to be in the journal.

    Rows are sorted: where a table has no key, their order is nobody's business.
    """
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:

        def ask(query: str) -> list[tuple[t.Any, ...]]:
            query = query.replace("%", "%%")
            return [tuple(row) for row in connection.exec_driver_sql(query)]

        quote = engine.dialect.identifier_preparer.quote_identifier
        found: dict[str, t.Any] = {}
        if engine.dialect.name == "postgresql":
            for kind, query in _POSTGRESQL.items():
                found[kind] = [row for row in ask(query) if "alembic_version" not in str(row)]
        else:
            for kind, query in _MYSQL.items():
                for (name,) in ask(query):
                    if not name.startswith("alembic_version"):
                        shown = ask(f"SHOW CREATE {kind} {quote(name)}")[0]
                        found[f"{kind} {name}"] = [part for part in shown if type(part) is str]
        tables = set(sa.inspect(connection).get_table_names())
        for name in tables - {"alembic_version_log", "alembic_version_journal"}:
            found[f"rows of {name}"] = sorted(ask(f"SELECT * FROM {quote(name)}"), key=repr)
        if "alembic_version_journal" in tables:
            found["journal"] = ask("SELECT number, state FROM alembic_version_journal")
    return found


class CrashPlace:
    """A project and a database that goes back to its beginning for each try.

    :param before: What makes the tables that the revision ``aaa`` has left.
    """

    def __init__(
        self, folder: Path, server: servers.Server, url: str, before: t.Sequence[str]
    ) -> None:
        self.project = QuickProject(folder, url)
        self.project.db("init")
        self.project.revision("aaa")
        self.url = url
        self.server = server
        self.before = before
        self.revisions = 0
        self.script = folder

    def write(self, lines: t.Sequence[str]) -> None:
        """Write the revision that is tried; each has a name of its own, and so its own bytecode."""
        if self.revisions:
            self.script.unlink()
        self.revisions += 1
        self.script = self.project.revision(f"b{self.revisions}", "aaa", upgrade=lines)

    def begin(self) -> None:
        """Go back to the revision ``aaa``."""
        if isinstance(self.server, servers.PostgreSQL):
            empty: tuple[str, ...] = ("DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
        else:
            name = sa.make_url(self.url).database
            empty = (f'DROP DATABASE "{name}"', f'CREATE DATABASE "{name}"', f'USE "{name}"')
        execute(self.url, *empty, *VERSION, *self.before)

    def state(self) -> dict[str, t.Any]:
        """Read what the database is like now, when no revision is half-applied."""
        found = snapshot(self.url)
        assert not found.pop("journal", [])
        return found

    def again(self) -> tuple[int, str]:
        """Run the upgrade in this process: exit code and messages."""
        done = self.project.flask("db", "upgrade")
        return done.returncode, done.stderr


def moments_of(ended: Ended, pattern: str) -> list[str]:
    """List the moments before those statements of a revision that begin with a pattern."""
    return [
        moment
        for moment in ended.moments
        if re.match(rf"before\s+(?:{pattern})", moment, flags=re.IGNORECASE)
        and "alembic_version" not in moment
    ]


def kill(killer: Killer, moment: int | str, *, is_sent: bool = False) -> None:
    """Kill an upgrade at a moment."""
    ended = killer.run("upgrade", kill=moment, is_sent=is_sent)
    assert ended.code == -9, f"{moment}: {ended.output}"


def of_revision(ended: Ended) -> list[str]:
    """List the moments from where the log is ready on: then the revision begins."""
    *_, last = (
        number
        for number, moment in enumerate(ended.moments)
        if "FROM alembic_version_log" in moment
    )
    return ended.moments[last:]
