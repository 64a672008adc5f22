"""MariaDB, where the URL says ``mariadb://``."""

from __future__ import annotations

from .mysql import FACTS as FACTS
