"""``flask db``: the only place that prints, asks and exits."""

from __future__ import annotations

from .group import db as db

__all__ = ["db"]
