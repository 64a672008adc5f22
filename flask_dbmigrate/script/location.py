"""Where the migration directory is."""

from __future__ import annotations

from pathlib import Path
import tomllib
import typing as t

from flask_dbmigrate.errors import ConfigurationError
from flask_dbmigrate.errors import MigrationDirectoryError
from flask_dbmigrate.state import DEFAULT_DIRECTORY
from flask_dbmigrate.state import MigrateState


def find_pyproject(state: MigrateState) -> tuple[Path | None, str | None]:
    """Find the ``pyproject.toml`` with a ``[tool.alembic]`` table.

    Looked for in the working directory, then in the application's root path and its parent.

    :returns: The file, and its ``script_location`` as a path if it has one.
    :raises ConfigurationError: if a file that mentions the table is no TOML.
    """
    for folder in _search_path(state):
        path = folder / "pyproject.toml"
        if not path.is_file() or "alembic" not in (text := path.read_text("utf-8", "replace")):
            continue
        try:
            tool = tomllib.loads(text).get("tool")
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError(
                f"'{path}' is not valid TOML: {error}.", hint="Correct the file."
            ) from error
        table = tool.get("alembic") if isinstance(tool, dict) else None
        if isinstance(table, dict):
            location = table.get("script_location")
            return path, location and str(folder / (location % {"here": folder}))
    return None, None


def find_directory(
    state: MigrateState, given: str | None = None, *, fallback: str | None = None
) -> str:
    """Find the migration directory.

    :param given: A directory that comes before the application's.
    :param fallback: The ``script_location`` of ``[tool.alembic]``; it counts only
        where no directory was given and the default one does not exist.
    :raises MigrationDirectoryError: if there is none, or if it is damaged.
    """
    name = given or state.given_directory
    candidates = _candidates(state, name or DEFAULT_DIRECTORY)
    if name is None and fallback is not None and not any(path.exists() for path in candidates):
        candidates = [Path(fallback)]
    found = next((path for path in candidates if (path / "env.py").is_file()), None)
    if found is not None:
        return str(found)
    damaged = next((path for path in candidates if path.exists()), None)
    if damaged is not None:
        raise _damaged(damaged)
    raise MigrationDirectoryError(
        f"There is no migration directory '{name or DEFAULT_DIRECTORY}'; looked for "
        + ", then ".join(f"'{path}'" for path in candidates)
        + ".",
        hint="Create it with 'flask db init', or name it with '--directory'.",
        looked_in=tuple(str(path) for path in candidates),
    )


def _damaged(path: Path) -> MigrationDirectoryError:
    if not path.is_dir():
        return MigrationDirectoryError(
            f"'{path}' is a file, not a migration directory.",
            hint="Move it away, or name the directory with '--directory'.",
        )
    if not any(path.iterdir()):
        return MigrationDirectoryError(
            f"The migration directory '{path}' is empty.",
            hint="Fill it with 'flask db init', or restore it from version control.",
        )
    return MigrationDirectoryError(
        f"'{path}' is not a migration directory: it has no 'env.py'.",
        hint="Restore 'env.py' from version control, or name another one with '--directory'.",
    )


def _candidates(state: MigrateState, name: str) -> list[Path]:
    path = Path(name)
    return [path] if path.is_absolute() else [folder / path for folder in _search_path(state)]


def _search_path(state: MigrateState) -> t.Iterable[Path]:
    root = Path(state.app.root_path).absolute()
    return dict.fromkeys((Path.cwd(), root, root.parent))
