"""Compares each pair of server defaults once."""

from __future__ import annotations

import re
import typing as t

from alembic.ddl.postgresql import PostgresqlImpl
from alembic.runtime.migration import MigrationContext
import sqlalchemy as sa

Column = sa.Column[t.Any]


def compare_defaults_once(context: MigrationContext) -> None:
    """Have PostgreSQL compare two server defaults once, however many columns have them.

    With ``compare_server_default=True`` Alembic sends a statement for each column whose default
    is not the same text in the model and in the database, where it has a type: ``'new'::text``.

    :param context: Alembic's context; nothing happens unless its implementation is Alembic's own.
    """
    impl = context.impl
    if type(impl).compare_server_default is not PostgresqlImpl.compare_server_default:
        return
    ask: t.Callable[..., t.Any] = impl.compare_server_default
    answers: dict[tuple[t.Any, ...], bool] = {}

    def compare(
        in_database: Column, in_models: Column, model_text: str | None, database_text: str | None
    ) -> bool:
        argument = getattr(in_models.server_default, "arg", None)
        if argument is None or model_text is None or database_text is None or in_models.primary_key:
            return bool(ask(in_database, in_models, model_text, database_text))
        # all that Alembic makes the statement of
        is_quoted = isinstance(argument, str) and not isinstance(
            in_database.type, sa.Numeric | sa.Float
        )
        key = (database_text, model_text, is_quoted)
        if key not in answers:
            literal = f"'{_bare(model_text)}'" if is_quoted else model_text
            answers[key] = not _is_typed(literal, database_text) and bool(
                ask(in_database, in_models, model_text, database_text)
            )
        return answers[key]

    impl.compare_server_default = compare  # type: ignore[method-assign]


def _bare(text: str) -> str:
    return re.sub(r"^'|'$", "", text)


def _is_typed(literal: str, database_text: str) -> bool:
    """Tell whether the database has nothing but this literal, with its type."""
    value, _, type_ = database_text.rpartition("::")
    is_literal = value == literal and re.fullmatch(r"'([^']|'')*'", literal)
    return bool(is_literal and re.fullmatch(r"""[\w ."]+(\[\])*""", type_))
