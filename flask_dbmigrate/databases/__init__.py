"""Which databases the application has."""

from __future__ import annotations

from .base import Database as Database
from .base import safe_url as safe_url
from .flask_sqlalchemy import databases_of

__all__ = ["Database", "databases_of", "safe_url"]
