"""Whether a migration directory is for the databases of bind keys, too."""

from __future__ import annotations

import ast
from pathlib import Path


def template_knows_bind_keys(folder: str) -> bool:
    """Tell whether new scripts have a function for each bind key.

    Without a template, as in a wheel that lacks it, nobody can tell: no database is to be left out.
    """
    template = Path(folder, "script.py.mako")
    return not template.is_file() or _mentions(template, "engine_name")


def env_py_is_ours(folder: str) -> bool:
    """Tell whether env.py calls :func:`flask_dbmigrate.env.run_migrations`."""
    return _mentions(Path(folder, "env.py"), "flask_dbmigrate.env")


def env_py_names_bind_keys(folder: str) -> bool:
    """Tell whether an env.py that is not ours gives bind keys to scripts."""
    return _mentions(Path(folder, "env.py"), "engine_name")


def multidb_in_env_py(folder: str) -> bool | None:
    """Tell what our env.py says of bind keys: ``run_migrations(multidb=...)``; None for nothing."""
    if env_py_is_ours(folder):
        for node in ast.walk(ast.parse(Path(folder, "env.py").read_bytes())):
            match node:
                case ast.keyword(arg="multidb", value=ast.Constant(value=bool(said))):
                    return said
    return None


def _mentions(path: Path, word: str) -> bool:
    return word in path.read_text("utf-8", "replace")
