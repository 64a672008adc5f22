"""Random schemas: a database's, and models that differ from it here and there."""

from __future__ import annotations

import random
import typing as t

import sqlalchemy as sa

NAMES = ["thing", "Mixed Case", "select", 'with"quote', "ünï", "last"]
SEQUENCES = {"loose": "loose", "Loose Two": '"Loose Two"', "owned": "owned"}
"""Sequences of PostgreSQL, and how defaults name them; no column owns the first two."""

_COLUMNS: list[tuple[list[t.Any], list[str | None]]] = [
    ([sa.String(20), sa.String(30)], [None, "a", "b", "a b", "'a'", "(lower('B'))"]),
    ([sa.Integer(), sa.BigInteger()], [None, "1", "2", "(1 + 1)"]),
    ([sa.Numeric(8, 2), sa.Numeric(9, 2)], [None, "1", "1.50"]),
    ([sa.DateTime()], [None, "2024-01-01 00:00:00", "(CURRENT_TIMESTAMP)"]),
]
"""Types that are like one another, and defaults for them; those in parentheses are SQL."""


class RandomSchema:
    """The models that belong to a seed.

    :param seed: What decides on the database.
    :param variant: What decides where the models are different; 0 if they are not.
    :param backend: The DBMS.
    """

    def __init__(self, seed: int, variant: int, backend: str) -> None:
        self.seed = seed
        self.variant = variant
        self.backend = backend
        self.metadata = sa.MetaData()

    def add(self, schema: str | None) -> None:
        """Add the tables of a schema."""
        made: list[sa.Table] = []
        for name in NAMES:
            self._random = random.Random(f"{self.seed} {schema} {name}")
            self._other = random.Random(f"{self.seed} {schema} {name} {self.variant}")
            if self._choose([True, True, True, False]):
                made.append(self._table(name, schema, made))

    def _choose(self, choices: t.Sequence[t.Any]) -> t.Any:
        chosen = self._random.choice(choices)
        if self.variant and self._other.random() < 0.15:
            return self._other.choice(choices)
        return chosen

    def _table(self, name: str, schema: str | None, made: list[sa.Table]) -> sa.Table:
        items: list[t.Any] = [sa.Column("id", sa.Integer, primary_key=True)]
        items += [self._column(f"Column {number}") for number in range(4)]
        if self.backend == "postgresql":
            items.append(self._counter(schema))
        if self._choose([True, False]):
            items.append(sa.UniqueConstraint("Column 0", "Column 1", name=f"uq {name}"))
        if self._choose([True, False]):
            unique = self._choose([True, False])
            items.append(sa.Index(f"ix {name}", "Column 2", unique=unique))
        if made and self._choose([True, False]):
            items.append(sa.Column("ref", sa.ForeignKey(made[0].c.id, name=f"fk {name}")))
        comment = None if self.backend == "sqlite" else self._choose([None, "a comment"])
        return sa.Table(name, self.metadata, *items, schema=schema, comment=comment)

    def _column(self, name: str) -> sa.Column[t.Any]:
        types, defaults = self._random.choice(_COLUMNS)
        type_, default = self._choose(types), self._choose(defaults)
        return sa.Column(
            name,
            type_,
            nullable=self._choose([True, False]),
            server_default=sa.text(default) if (default or "").startswith("(") else default,
        )

    def _counter(self, schema: str | None) -> sa.Column[t.Any]:
        """Make a column that counts, or does not."""
        prefix = f'"{schema}".' if schema else ""
        type_ = self._choose([sa.Integer(), sa.BigInteger(), sa.SmallInteger()])
        sequences = [sa.text(f"nextval('{prefix}{name}')") for name in SEQUENCES.values()]
        # Alembic cannot compare an identity with another default
        identities = [None, sa.Identity(), sa.Identity(always=True)]
        default = self._choose(self._random.choice([identities, [*sequences, *sequences[-1:] * 2]]))
        name = self._random.choice(["counter", "Other Counter"])
        return sa.Column(name, type_, server_default=default, nullable=False)
