"""Where the migration directory is."""

from __future__ import annotations

from pathlib import Path
import tomllib
import typing as t

from flask_dbmigrate.errors import ConfigurationError
from flask_dbmigrate.errors import MigrationDirectoryError
from flask_dbmigrate.state import DEFAULT_DIRECTORY
from flask_dbmigrate.state import MigrateState

from .packaged import folder_in_package
from .packaged import split


def find_pyproject(state: MigrateState) -> tuple[Path | None, str | None]:
    """Find the ``pyproject.toml`` with a ``[tool.alembic]`` table.

    Looked for in the working directory, then in the application's root path and its parent.

    :returns: The file, and its ``script_location`` if it has one: an absolute path, or
        ``package:folder``.
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
            return path, _script_location(path, table)
    return None, None


def _script_location(pyproject: Path, table: dict[str, t.Any]) -> str | None:
    if "script_location" not in table:
        return None
    try:
        location: str = table["script_location"] % {"here": pyproject.parent}
        path = pyproject.parent / location
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"'script_location' in '{pyproject}' cannot be used: {error}.",
            hint="Make it a path; write '%%' for a percent sign.",
        ) from error
    return location if split(location) and not path.exists() else str(path)


def find_directory(
    state: MigrateState, given: str | None = None, *, fallback: str | None = None
) -> str:
    """Find the migration directory.

    :param given: A directory that comes before the application's.
    :param fallback: The ``script_location`` of ``[tool.alembic]``; it counts only
        where no directory was given and the default one does not exist.
    :raises MigrationDirectoryError: if there is none, or if it is damaged.
    """
    given = given or state.given_directory
    name = given or DEFAULT_DIRECTORY
    candidates = _candidates(state, name)
    if given is None and fallback is not None and not any(path.exists() for path in candidates):
        name, candidates = fallback, _candidates(state, fallback)
    found = next((path for path in candidates if (path / "env.py").is_file()), None)
    if found is not None:
        return str(found)
    damaged = next((path for path in candidates if path.exists()), None)
    raise _missing(name, candidates) if damaged is None else _damaged(damaged)


def new_directory(state: MigrateState, given: str | None = None) -> Path:
    """Tell where ``init`` makes the migration directory.

    :param given: A directory that comes before the application's.
    :raises MigrationDirectoryError: if it is to be in a package that cannot be found.
    """
    name = given or state.given_directory or find_pyproject(state)[1] or DEFAULT_DIRECTORY
    path = Path(name)
    return path if path.exists() else folder_in_package(name) or path


def _missing(name: str, candidates: list[Path]) -> MigrationDirectoryError:
    return MigrationDirectoryError(
        f"There is no migration directory '{name}'; looked for "
        + ", then ".join(f"'{path}'" for path in candidates)
        + ".",
        hint="Create it with 'flask db init'; if the source of the package has it, the wheel was "
        "built without its data files."
        if split(name)
        else "Create it with 'flask db init', or name it with '--directory'.",
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
    paths = [path] if path.is_absolute() else [folder / path for folder in _search_path(state)]
    packaged = None if any(path.exists() for path in paths) else folder_in_package(name)
    return paths if packaged is None else [packaged]


def _search_path(state: MigrateState) -> t.Iterable[Path]:
    root = Path(state.app.root_path).absolute()
    return dict.fromkeys((Path.cwd(), root, root.parent))
