"""``flask db``: the only place that prints, asks and exits."""

from __future__ import annotations

import click

from .group import db as db


def __getattr__(name: str) -> click.Command:
    try:
        return db.commands[name.replace("_", "-")]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
