"""The sequences of PostgreSQL, and the columns that own them."""

from __future__ import annotations

import sqlalchemy as sa

# PostgreSQL 15 documentation, section 53.18 "pg_depend": a sequence depends on the column that
# owns it. A default names a sequence as the type regclass does, with its schema if need be.
_OWNERS = """
SELECT CAST(CAST(c.oid AS pg_catalog.regclass) AS text), a.attname
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_depend d
    ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid
    AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjsubid > 0
LEFT JOIN pg_catalog.pg_attribute a
    ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE c.relkind = 'S' AND
"""


def sequence_owners(connection: sa.Connection, schema: str | None) -> dict[str, str | None]:
    """Tell the name of the column that owns each sequence of a schema; None if there is none.

    :param schema: None for the sequences that are found without a schema.
    """
    if schema is None:
        found = connection.execute(sa.text(_OWNERS + "pg_catalog.pg_table_is_visible(c.oid)"))
    else:
        found = connection.execute(sa.text(_OWNERS + "n.nspname = :schema"), {"schema": schema})
    return {row[0]: row[1] for row in found}
