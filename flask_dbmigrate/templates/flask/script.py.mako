<%!
from flask_dbmigrate.env import functions_of_script
%>"""${message}

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}
Create Date: ${create_date}

"""

from collections.abc import Sequence

from alembic import op
import sqlalchemy as sa
${imports if imports else ""}

# revision identifiers, used by Alembic.
revision: str = ${repr(up_revision)}
down_revision: str | Sequence[str] | None = ${repr(down_revision)}
branch_labels: str | Sequence[str] | None = ${repr(branch_labels)}
depends_on: str | Sequence[str] | None = ${repr(depends_on)}

<% functions = functions_of_script(context) %>
% if functions:
def upgrade(engine_name: str) -> None:
    """Upgrade the database of a bind key; that of the default database is empty."""
    run = {
% for key, name in functions.items():
        ${repr(key)}: upgrade_${name},
% endfor
    }
    if engine_name in run:
        run[engine_name]()


def downgrade(engine_name: str) -> None:
    """Downgrade the database of a bind key; that of the default database is empty."""
    run = {
% for key, name in functions.items():
        ${repr(key)}: downgrade_${name},
% endfor
    }
    if engine_name in run:
        run[engine_name]()
% for key, name in functions.items():


def upgrade_${name}() -> None:
    ${context.get(f"{key}_upgrades", "pass")}


def downgrade_${name}() -> None:
    ${context.get(f"{key}_downgrades", "pass")}
% endfor
% else:
def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
% endif
