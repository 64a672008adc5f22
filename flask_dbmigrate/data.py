"""What all results of the Python API have in common."""

from __future__ import annotations

import dataclasses
from datetime import datetime
import typing as t


class Data:
    """A frozen dataclass that JSON can say as well: ``str()`` and JSON show the same value."""

    def to_dict(self) -> dict[str, t.Any]:
        """Turn it into what ``--json`` prints: dictionaries, lists, texts and numbers."""
        return {
            field.name: _plain(getattr(self, field.name))
            for field in dataclasses.fields(t.cast(t.Any, self))
            if field.metadata.get("json", True)
        }

    __json__ = to_dict  # Celery asks for it


def _plain(value: t.Any) -> t.Any:
    if isinstance(value, Data):
        return value.to_dict()
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
