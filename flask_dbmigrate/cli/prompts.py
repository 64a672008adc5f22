"""Questions; without a terminal none is asked."""

from __future__ import annotations

import sys

import click

from flask_dbmigrate.runtime.result import Loss

from .console import is_terminal


def agrees_to_loss(losses: tuple[Loss, ...]) -> bool | None:
    """Ask whether data may be dropped; None if there is nobody to ask.

    :param losses: What is dropped; the user has seen the list.
    """
    return _confirmed("Drop it, with its data?") if is_terminal() else None


def _confirmed(question: str) -> bool:
    """Ask for a yes or no; anything but a yes, the end of the input for one, is a no."""
    click.echo(f"{question} [y/N] ", nl=False, err=True)
    # click.confirm() would make one thing of the end of the input and Ctrl-C
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        click.echo(err=True)
    return answer.strip().lower() in ("y", "yes")
