"""How commands speak: data on stdout, everything else on stderr, errors in two lines."""

from __future__ import annotations

from contextlib import contextmanager
from contextlib import ExitStack
from contextlib import redirect_stdout
from contextlib import suppress
import errno
import functools
from functools import partial
import itertools
import json
import logging
import os
import re
import signal
import sys
import traceback
import typing as t
import warnings

import click
from flask import current_app
from flask import g
from flask.cli import with_appcontext

from flask_dbmigrate.errors import ConfigurationError
from flask_dbmigrate.errors import DBMigrateError
from flask_dbmigrate.state import on_command_line
from flask_dbmigrate.wording import shortened

from .options import directory_option
from .options import traceback_option
from .options import x_arg_option


@contextmanager
def full_output_explained() -> t.Iterator[None]:
    """Turn what ends a command that cannot print, on a full disk for one, into an error of ours."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno not in _FULL:
            raise
        with suppress(OSError, ValueError):  # what is left of it would be tried again in the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise ConfigurationError(
            f"The output cannot be written: {error.strerror}.",
            hint="Send it elsewhere. What the command has done stays done.",
        ) from error


_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


class Command(click.Command):
    """A command of the group: it finds its settings and turns our errors into exit codes."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Let ``flask db downgrade -1`` name a revision; Click takes it for an option."""
        takes_value = {
            name
            for parameter in self.params
            if isinstance(parameter, click.Option) and not parameter.is_flag
            for name in parameter.opts
        }
        relative = [
            arg
            for before, arg in itertools.pairwise(["", *args])
            if re.fullmatch(r"-\d+", arg) and before not in takes_value
        ]
        if len(relative) == 1 and "--" not in args and _takes_arguments(self):
            args = [arg for arg in args if arg not in relative] + ["--", *relative]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> t.Any:
        """Run the command."""
        from flask_dbmigrate.runtime.interruption import stoppable  # loads SQLAlchemy
        from flask_dbmigrate.runtime.interruption import Stopped

        flagged = [c.params.get("traceback") for c in (ctx, ctx.parent) if c is not None]
        try:
            with _on_command_line(), stoppable():
                return super().invoke(ctx)
        except KeyboardInterrupt as error:
            stopped = error if isinstance(error, Stopped) else Stopped(signal.SIGINT)
            is_typed = stopped.signum == signal.SIGINT
            # the signal may have come just before it was
            warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
            click.echo(f"\n{stopped}" if is_typed else stopped, err=True)
            ctx.exit(128 + stopped.signum)
        except DBMigrateError as error:
            if any(flagged) or (current_app and current_app.debug):
                click.echo("".join(traceback.format_exception(error)), err=True)
            error.hint = _as_called(error.hint)
            raise


def _takes_arguments(command: click.Command) -> bool:
    return any(isinstance(parameter, click.Argument) for parameter in command.params)


def command(name: str) -> t.Callable[[t.Callable[..., None]], click.Command]:
    """Make a function a command of the group, with the options that every command has.

    The function is given ``directory`` and ``command`` for the Python API, which finds what
    ``-x`` says in ``g``: first the group's, then the command's own.
    """

    def decorate(function: t.Callable[..., None]) -> click.Command:
        @directory_option
        @x_arg_option
        @traceback_option
        @with_appcontext
        @functools.wraps(function)
        def callback(
            directory: str | None, x_arg: tuple[str, ...], traceback: bool, **parameters: t.Any
        ) -> None:
            g.directory = directory or getattr(g, "directory", None)
            g.x_arg = (*getattr(g, "x_arg", ()), *x_arg)
            function(directory=g.directory, command=_registered_name(), **parameters)

        return click.command(name, cls=Command)(callback)

    return decorate


def _registered_name() -> str | None:
    """Tell by which of the application's command names the group was called, if by one."""
    parent = click.get_current_context().parent
    states = current_app.extensions.get("dbmigrate", {})
    return parent.info_name if parent and parent.info_name in states else None


def show(value: t.Any, *, as_json: bool = False) -> None:
    """Print a result on stdout."""
    text = json.dumps(value.to_dict(), indent=2) if as_json else str(value)
    if text:
        click.echo(text)


@contextmanager
def nothing_else_on_stdout() -> t.Iterator[None]:
    """Send to stderr what others print meanwhile: env.py, hooks, and the processes they start."""
    stdout = sys.stdout
    stdout.flush()
    with ExitStack() as stack:
        with suppress(OSError):  # one of them may be closed
            descriptor = os.dup(1)
            stack.callback(os.close, descriptor)
            stack.callback(os.dup2, descriptor, 1)
            stack.callback(stdout.flush)
            os.dup2(2, 1)
        stack.enter_context(redirect_stdout(sys.stderr))
        yield


def note(text: object) -> None:
    """Say something on stderr; that nobody can hear it must not stop a run."""
    with suppress(OSError):
        click.echo(_as_called(str(text)), err=True)


def _as_called(text: str) -> str:
    """Let commands in a text begin as the user calls them: ``flask database upgrade``."""
    names: list[str] = []
    group = click.get_current_context().parent
    while group is not None and (group.parent is not None or not names):
        names.insert(0, group.info_name or "db")
        group = group.parent
    return text.replace("'flask db ", f"'flask {' '.join(names or ['db'])} ")


def is_terminal() -> bool:
    """Tell whether somebody is there to read and to answer."""
    return sys.stdin.isatty() and sys.stderr.isatty()


@contextmanager
def differences_told_once() -> t.Iterator[None]:
    """Keep autogenerate's own report of what it finds back: the result says it in full."""
    autogenerate = logging.getLogger("alembic.autogenerate")
    level = autogenerate.level
    autogenerate.setLevel(logging.WARNING)
    try:
        yield
    finally:
        autogenerate.setLevel(level)


@contextmanager
def _on_command_line() -> t.Iterator[None]:
    """Show what Alembic reports on stderr, unless the application shows it already."""
    token = on_command_line.set(True)
    alembic = logging.getLogger("alembic")
    level = alembic.level
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    details = [logging.getLogger(f"alembic.{name}") for name in _DETAILS]
    if not logging.root.handlers:
        alembic.addHandler(handler)
    if alembic.level == logging.NOTSET:
        alembic.setLevel(logging.INFO)
    for logger in details:
        logger.addFilter(_is_news)
    show_warning = warnings.showwarning
    if show_warning.__module__ == "warnings":  # nobody has another way to show them
        warnings.showwarning = partial(_show_warning, show_warning)
    try:
        yield
    finally:
        warnings.showwarning = show_warning
        for logger in details:
            logger.removeFilter(_is_news)
        alembic.removeHandler(handler)
        alembic.setLevel(level)
        on_command_line.reset(token)


_DETAILS = ("runtime.migration", "runtime.plugins", "ddl.postgresql")
"""Loggers of Alembic with nothing at the level of info that matters to users."""


def _show_warning(
    otherwise: t.Callable[..., None],
    message: Warning | str,
    category: type[Warning],
    *place: t.Any,
    **more: t.Any,
) -> None:
    """Show what Alembic and SQLAlchemy warn of in a line, without the line of theirs."""
    if issubclass(category, UserWarning | RuntimeWarning):
        note(f"Warning: {shortened(' '.join(str(message).split()))}")
    else:
        otherwise(message, category, *place, **more)


def _is_news(record: logging.LogRecord) -> bool:
    """Leave out what :class:`.progress.Progress` says better, or what nobody asked."""
    return record.levelno != logging.INFO
