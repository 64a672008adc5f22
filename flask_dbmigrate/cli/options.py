"""The options that several commands have: each is defined here, once."""

from __future__ import annotations

from importlib import metadata
import typing as t

import click

Decorator = t.Callable[[t.Callable[..., t.Any]], t.Callable[..., t.Any]]


def _together(*options: Decorator) -> Decorator:
    """Make one decorator of several, in their order."""

    def decorate(function: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


directory_option = click.option(
    "-d", "--directory", help='Migration script directory (default is "migrations").'
)
x_arg_option = click.option(
    "-x",
    "--x-arg",
    multiple=True,
    metavar="KEY=VALUE",
    help="Additional argument for custom env.py scripts; may be repeated.",
)
traceback_option = click.option(
    "--traceback",
    "--raiseerr",
    is_flag=True,
    help="Show the Python traceback of an error.",
)


def _show_versions(context: click.Context, option: click.Parameter, is_given: bool) -> None:
    if is_given and not context.resilient_parsing:
        for name in ("Flask-DBMigrate", "Alembic", "SQLAlchemy"):
            click.echo(f"{name} {metadata.version(name)}")
        context.exit()


version_option = click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_versions,
    help="Show the versions of Flask-DBMigrate, Alembic and SQLAlchemy.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
sql_option = click.option(
    "--sql", is_flag=True, help="Print the SQL instead of running it on the database."
)
output_option = click.option(
    "--output", metavar="FOLDER", help="With --sql: write <key>.sql files to this folder."
)
plan_option = click.option(
    "--plan", is_flag=True, help="Show the revisions and what they do; run nothing."
)
database_option = click.option(
    "--database",
    multiple=True,
    metavar="KEY",
    help='Database to run on: a bind key, or "default"; may be repeated (default is all).',
)
two_phase_option = click.option(
    "--two-phase/--no-two-phase",
    default=None,
    help="Let all databases commit or none (PostgreSQL).",
)
lock_option = click.option(
    "--lock/--no-lock", default=None, help="Wait until no other run is at work (default)."
)
lock_timeout_option = click.option(
    "--lock-timeout",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="How long to wait for another run (default is 600).",
)
single_transaction_option = click.option(
    "--single-transaction/--no-single-transaction",
    default=None,
    help="Apply all revisions of a database or none (PostgreSQL, SQLite).",
)
ddl_lock_timeout_option = click.option(
    "--ddl-lock-timeout",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="How long DDL waits for a lock before it is tried again (default is 2; 0: no limit).",
)
ddl_retries_option = click.option(
    "--ddl-retries",
    type=click.IntRange(min=0),
    metavar="NUMBER",
    help="How often to try again what a lock has stopped (default is 20).",
)
resume_option = click.option(
    "--resume/--no-resume",
    default=None,
    help="Go on with a half-applied revision where that is safe (default).",
)
statement_timeout_option = click.option(
    "--statement-timeout",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="How long a statement may run (default is no limit).",
)
wait_option = click.option(
    "--wait",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="How long to wait for a database that is starting (default is 30, on a terminal 0).",
)
tag_option = click.option("--tag", help="Arbitrary tag; env.py can read it.")
verbose_option = click.option("-v", "--verbose", is_flag=True, help="Show more.")
message_option = click.option("-m", "--message", help="What the revision does.")
branch_label_option = click.option("--branch-label", help="Name of the branch that begins here.")
rev_id_option = click.option(
    "--rev-id", help="Identifier of the revision; by default a random one."
)
splice_option = click.option(
    "--splice", is_flag=True, help="Allow to build upon a revision that is no head."
)
head_option = click.option(
    "--head",
    default="head",
    help="Revision to build upon, or <branch>@head (default is the head).",
)
version_path_option = click.option(
    "--version-path", help="Folder to write to, if version_locations has several."
)
depends_on_option = click.option(
    "--depends-on", multiple=True, help="Revision that must be applied before; may be repeated."
)

writing_options = _together(
    sql_option, output_option, database_option, lock_option, lock_timeout_option, json_option
)
"""Those of all commands that write to databases."""

revision_options = _together(
    writing_options,
    tag_option,
    two_phase_option,
    single_transaction_option,
    ddl_lock_timeout_option,
    ddl_retries_option,
    statement_timeout_option,
    resume_option,
    plan_option,
)
"""Those of the commands that run revisions."""
