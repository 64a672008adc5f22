"""Who runs this: what the log and the journal say about it."""

from __future__ import annotations

from dataclasses import dataclass
import getpass
import os
import socket

_RELEASE = ("HEROKU_RELEASE_VERSION", "HEROKU_SLUG_COMMIT", "GIT_COMMIT")


@dataclass(frozen=True)
class Origin:
    """Where something was run, and by whom.

    :param host: The name of the machine.
    :param user: The operating system's user.
    :param release: What ``HEROKU_RELEASE_VERSION``, ``HEROKU_SLUG_COMMIT`` or ``GIT_COMMIT`` said.
    """

    host: str
    user: str
    release: str

    @classmethod
    def here(cls) -> Origin:
        """Describe this process."""
        release = next(filter(None, map(os.environ.get, _RELEASE)), "")
        return cls(socket.gethostname(), _user(), release)

    def __str__(self) -> str:
        release = f" (release {self.release})" if self.release else ""
        return f"{self.user}@{self.host}{release}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # a container's user may have no name
        return str(getattr(os, "getuid", str)())
