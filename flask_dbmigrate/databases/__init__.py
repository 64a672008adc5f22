"""Which databases the application has."""

from __future__ import annotations

from .base import Database as Database
from .base import DEFAULT_KEY as DEFAULT_KEY
from .base import safe_url as safe_url
from .base import without_secrets as without_secrets
from .flask_sqlalchemy import databases_of as databases_of
