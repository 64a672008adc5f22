"""What of a new script is tried before it is written, and what is not."""

from __future__ import annotations

import pytest

from flask_dbmigrate.script.rehearsal import rehearse
from flask_dbmigrate.script.rehearsal import UnusableError

HEAD = "from alembic import op\nimport sqlalchemy as sa\nEVENTS = []\n"

GOOD = """
def upgrade():
    op.create_table(op.f('user'), sa.Column('id', sa.Integer(), nullable=False))
    entity = lambda: 1 / 0
    op.create_entity(entity())
    op.custom(undefined())
    for name in ('a', 'b'):
        op.add_column('user', sa.Column(name, sa.Text()))
    op.execute(sa.text('SELECT 1'))
    EVENTS.append(1 / 0)

def downgrade():
    op.drop_table('user')
"""

BAD = {
    "op.create_table('user', sa.Column('a', sa.Nothing()), schema='shop')": (
        "Column 'shop.user.a'",
        "sa.Nothing()",
    ),
    "op.add_column('user', sa.Column('a', sa.ARRAY(sa.Enum(1 / 0))))": ("Column 'user.a'", "1 / 0"),
    "op.alter_column('user', 'a', type_=sa.Nothing())": ("Column 'user.a'", "sa.Nothing()"),
    "op.create_table('user', sa.Column('a', server_default=sa.nothing('x')))": (
        "Column 'user.a'",
        "sa.nothing('x')",
    ),
    "op.create_table('user', sa.CheckConstraint(sa.nothing('x')))": (
        "Table 'user'",
        "sa.nothing('x')",
    ),
    "with op.batch_alter_table('user') as batch_op:\n"
    "        batch_op.add_column(sa.Column('a', sa.Nothing()))": (
        "Column 'user.a'",
        "sa.Nothing()",
    ),
}


def test_what_only_the_run_knows_is_left_alone() -> None:
    """Nothing but the arguments of Alembic's own operations is executed."""
    rehearse(HEAD + GOOD, "aaa.py")


@pytest.mark.parametrize("line", BAD)
def test_part_that_fails(line: str) -> None:
    """The innermost part that fails is named, and what it is for."""
    what, expression = BAD[line]
    with pytest.raises(UnusableError) as caught:
        rehearse(f"{HEAD}def upgrade():\n    {line}\n", "aaa.py")
    assert (caught.value.what, caught.value.expression) == (what, expression)


def test_script_that_is_no_python() -> None:
    """Any other error in the source is left to whoever explains it."""
    with pytest.raises(SyntaxError):
        rehearse("revision = ", "aaa.py")
