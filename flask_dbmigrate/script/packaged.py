"""Migration directories inside of installed Python packages: ``package:sub/folder``."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
import re

from flask_dbmigrate.errors import MigrationDirectoryError


def split(directory: str) -> tuple[str, str] | None:
    """Split ``package:sub/folder``; None for a path.

    One letter before the colon is a drive of Windows.
    """
    match = re.fullmatch(r"(\w[\w.]+):([^/\\].*)", directory)
    return match and (match[1], match[2])


def folder_in_package(directory: str) -> Path | None:
    """Tell where the folder is that ``package:sub/folder`` names; None for a path.

    The folder need not exist. The packages above this one are imported, itself is not.

    :raises MigrationDirectoryError: if there is no such package, or it is not one folder.
    """
    parts = split(directory)
    if parts is None:
        return None
    package, folder = parts
    locations = _locations(package, directory)
    folders = [path for path in map(Path, locations) if path.is_dir()]
    if len(folders) != 1:
        listed = ", ".join(f"'{location}'" for location in locations)
        raise MigrationDirectoryError(
            f"The package '{package}' of the directory '{directory}' is not one folder on disk: "
            f"it is in {listed}.",
            hint="Install it unpacked, with an '__init__.py', or give the path of the directory.",
        )
    return folders[0].absolute() / folder


def _locations(package: str, directory: str) -> list[str]:
    """Tell where a package is: one place, or those of a namespace package."""
    try:
        spec = find_spec(package)
    except Exception as error:  # the packages above are imported: their code can fail in any way
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise _not_found(package, directory, reason) from error
    if spec is None:
        raise _not_found(package, directory, "no module has this name")
    if spec.submodule_search_locations is None:
        raise _not_found(package, directory, f"'{spec.origin}' is a module of one file")
    return list(spec.submodule_search_locations)


def _not_found(package: str, directory: str, reason: str) -> MigrationDirectoryError:
    return MigrationDirectoryError(
        f"The package '{package}' of the directory '{directory}' cannot be found: {reason}.",
        hint="Install the package, correct its name, or give the path of the directory.",
    )
