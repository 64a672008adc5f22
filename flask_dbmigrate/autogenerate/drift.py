"""Says in a sentence how the models and a database differ."""

from __future__ import annotations

from dataclasses import dataclass
import typing as t

from alembic.operations.ops import UpgradeOps
import sqlalchemy as sa

from flask_dbmigrate.data import Data


@dataclass(frozen=True)
class Difference(Data):
    """One difference between the models and a database.

    :param database: The database's key.
    :param kind: Alembic's name for it: ``add_table``, ``modify_type`` … says what ``migrate``
        would do.
    :param table: The table, with its schema if it has one; None where there is none.
    :param column: The column, where it is about one.
    :param sentence: The difference in words.
    """

    database: str
    kind: str
    table: str | None
    column: str | None
    sentence: str

    def __str__(self) -> str:
        return self.sentence


def differences(operations: UpgradeOps, database: str) -> list[Difference]:
    """Describe what autogenerate found.

    :param operations: The operations that would make the database equal to the models.
    :param database: The database's key.
    """
    found = []
    for diff in operations.as_diffs():
        # a column's changes come as one list of tuples, everything else as a tuple
        for kind, *details in diff if isinstance(diff, list) else [diff]:
            table, column, sentence = _describe(kind, details)
            found.append(Difference(database, kind, table, column, sentence))
    return found


def _describe(kind: str, details: list[t.Any]) -> tuple[str | None, str | None, str]:
    action, _, subject = kind.partition("_")
    if action == "modify":
        return _changed_column(subject, details)
    if subject == "column":
        schema, table_name, column = details[:3]
        table = _qualified(schema, table_name)
        what = f"Column '{table}.{column.name}' ({column.type})"
        return table, column.name, f"{what} {_WHERE[action]}."
    if subject == "table":
        table = details[0].fullname
        return table, None, f"Table '{table}' {_WHERE[action]}."
    if subject == "table_comment":
        table = details[0].fullname
        comment = _value(details[0].comment if action == "add" else None)
        return table, None, f"The comment of table '{table}' is {comment} in the models."
    if isinstance(details[0] if details else None, sa.schema.SchemaItem):
        table, what = _constraint(details[0])
        return table, None, f"{what} of table '{table}' {_WHERE[action]}."
    return None, None, f"{kind.replace('_', ' ').capitalize()}: {' '.join(map(str, details))}."


_WHERE = {
    "add": "is in the models but not in the database",
    "remove": "is in the database but not in the models",
}


def _changed_column(subject: str, details: list[t.Any]) -> tuple[str, str, str]:
    schema, table_name, column = details[:3]
    table = _qualified(schema, table_name)
    in_database, in_models = details[-2:]
    if subject == "nullable":
        facts = (
            f"is {_nullable(in_database)} in the database and {_nullable(in_models)} in the models"
        )
    else:
        facts = (
            f"has the {subject} {_value(in_database)} in the database "
            f"and {_value(in_models)} in the models"
        )
    return table, column, f"Column '{table}.{column}' {facts}."


def _nullable(value: bool) -> str:
    return "nullable" if value else "not nullable"


def _value(value: t.Any) -> str:
    """Show a type, a default or a comment; None means that there is none."""
    if value is None or value is False:
        return "(none)"
    if isinstance(value, sa.DefaultClause):
        return f"'{value.arg}'"
    if isinstance(value, sa.Computed):
        return f"'{value.sqltext}'"
    return f"'{value}'"


def _constraint(item: sa.schema.SchemaItem) -> tuple[str, str]:
    """Name an index or a constraint: its table, and what it is on which columns."""
    table, name = getattr(item, "table", None), getattr(item, "name", None)
    columns = ", ".join(_column_name(column) for column in _columns(item))
    kind = _KINDS.get(type(item).__name__, "constraint")
    what = kind.capitalize() + (f" '{name}'" if name else "")
    if columns:
        what += f" on ({columns})"
    if isinstance(item, sa.ForeignKeyConstraint):
        what += f" to ({', '.join(element.target_fullname for element in item.elements)})"
    return ("?" if table is None else table.fullname), what


_KINDS = {
    "Index": "index",
    "UniqueConstraint": "unique constraint",
    "ForeignKeyConstraint": "foreign key",
    "CheckConstraint": "check constraint",
    "PrimaryKeyConstraint": "primary key",
}


def _columns(item: t.Any) -> t.Iterable[t.Any]:
    return item.expressions if isinstance(item, sa.Index) else getattr(item, "columns", ())


def _column_name(column: t.Any) -> str:
    return column.name if isinstance(column, sa.Column) else str(column)


def _qualified(schema: str | None, table: str) -> str:
    return f"{schema}.{table}" if schema else table
