"""Real database servers for tests: given, running at their default place, or started here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from contextlib import contextmanager
import os
from pathlib import Path
import shutil
import signal
import socket
import subprocess
import sys
import time
import typing as t
import uuid

import sqlalchemy as sa

PASSWORD = "p@s%s/:#"
"""The password of every test user: each character breaks a tool that is careless with URLs."""

USER = "dbmigrate_test"

DRIVERS = {
    "sqlite": "sqlite",
    "aiosqlite": "sqlite+aiosqlite",
    "psycopg": "postgresql+psycopg",
    "psycopg2": "postgresql+psycopg2",
    "pg8000": "postgresql+pg8000",
    "asyncpg": "postgresql+asyncpg",
    "heroku": "postgres",
    "pymysql": "mysql+pymysql",
    "mysqlclient": "mysql+mysqldb",
    "mysqlconnector": "mysql+mysqlconnector",
    "aiomysql": "mysql+aiomysql",
    "asyncmy": "mysql+asyncmy",
}
"""How a URL begins that asks for a driver."""

ASYNCIO = {
    "aiosqlite": "sqlite",
    "asyncpg": "postgresql+psycopg",
    "aiomysql": "mysql+pymysql",
    "asyncmy": "mysql+pymysql",
}
"""The drivers that need an event loop, and what the tests themselves use instead."""


def backend_of(driver: str) -> str:
    """Tell which DBMS a driver is for."""
    return DRIVERS[driver].partition("+")[0]


def drivers_of(backend: str) -> list[str]:
    """List the drivers for a DBMS."""
    return [driver for driver in DRIVERS if backend_of(driver) == backend]


class NoServerError(Exception):
    """There is no server of this kind, and none could be started."""


class NoDriverError(Exception):
    """A driver is not installed."""


def require_driver(driver: str) -> None:
    """Import a driver.

    :raises NoDriverError: if it is not installed.
    """
    try:
        sa.make_url(f"{DRIVERS[driver]}://").get_dialect().import_dbapi()
    except ImportError as error:
        raise NoDriverError(f"the driver '{driver}' is not installed: {error}") from error


def synchronous(url: str | sa.URL) -> sa.URL:
    """Tell how to look into a database without an event loop."""
    made = sa.make_url(url)
    return made.set(drivername=ASYNCIO.get(made.get_driver_name(), made.drivername))


class Server:
    """A server that makes a new database for each test.

    :param url: The URL of an administrator.
    """

    def __init__(self, url: sa.URL, *, quote: str) -> None:
        self.url = url
        self.quote = quote

    def execute(self, *statements: str) -> None:
        engine = sa.create_engine(self.url, poolclass=sa.NullPool)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for statement in statements:
                connection.exec_driver_sql(statement.replace("%", "%%"))

    @contextmanager
    def database(self, driver: str) -> Iterator[str]:
        """Create a database that belongs to the test user, and drop it in the end."""
        name = f"dbmigrate_{uuid.uuid4().hex[:12]}"
        quoted = f"{self.quote}{name}{self.quote}"
        self.execute(*self.create(quoted))
        url = self.url.set(
            drivername=DRIVERS[driver], username=USER, password=PASSWORD, database=name
        )
        try:
            yield url.render_as_string(hide_password=False)
        finally:
            self.execute(*self.drop(quoted))

    def create(self, name: str) -> list[str]:
        raise NotImplementedError

    def drop(self, name: str) -> list[str]:
        raise NotImplementedError


class PostgreSQL(Server):
    def __init__(self, url: sa.URL) -> None:
        super().__init__(url.set(drivername="postgresql+psycopg"), quote='"')
        self.execute(
            f"DO $$ BEGIN CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'; "
            "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        )

    def create(self, name: str) -> list[str]:
        return [f"CREATE DATABASE {name} OWNER {USER}"]

    def drop(self, name: str) -> list[str]:
        return [f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"]


class MySQL(Server):
    def __init__(self, url: sa.URL) -> None:
        super().__init__(url.set(drivername="mysql+pymysql"), quote="`")
        self.execute(
            *(
                f"CREATE USER IF NOT EXISTS '{USER}'@'{host}' IDENTIFIED BY '{PASSWORD}'"
                for host in ("localhost", "127.0.0.1")
            )
        )

    def create(self, name: str) -> list[str]:
        return [
            f"CREATE DATABASE {name}",
            *(f"GRANT ALL ON {name}.* TO '{USER}'@'{host}'" for host in ("localhost", "127.0.0.1")),
        ]

    def drop(self, name: str) -> list[str]:
        return [f"DROP DATABASE IF EXISTS {name}"]


@contextmanager
def postgresql(folder: Path) -> Iterator[PostgreSQL]:
    """Find or start PostgreSQL.

    :param folder: An empty folder for a server of our own.
    :raises NoServerError: if there is none.
    """
    given = os.environ.get("DBMIGRATE_TEST_POSTGRESQL")
    default = "postgresql://postgres@127.0.0.1:5432/postgres"
    if given or is_listening(5432):
        yield PostgreSQL(sa.make_url(given or default))
        return
    with own_postgresql(folder) as url:
        yield PostgreSQL(url)


@contextmanager
def own_postgresql(folder: Path) -> Iterator[sa.URL]:
    """Start a PostgreSQL that really asks for the password."""
    url, serve = postgresql_cluster(folder)
    with serve():
        yield url


@contextmanager
def postgresql_replica(folder: Path, *statements: str) -> Iterator[sa.URL]:
    """Start a PostgreSQL that is in recovery, as a replica is.

    :param statements: Run before, while it can be written to.
    """
    url, serve = postgresql_cluster(folder)
    with serve():
        Server(url, quote='"').execute(*statements)
    (folder / "data" / "standby.signal").touch()
    with serve():
        yield url


Cluster = tuple[sa.URL, t.Callable[[], t.ContextManager[None]]]
"""An administrator's URL, and what runs the server, as often as one likes."""


def postgresql_cluster(folder: Path) -> Cluster:
    """Make a PostgreSQL that really asks for the password."""
    initdb = _binary("initdb", *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))
    data, secret, port = folder / "data", folder / "password", free_port()
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    account = _account("postgres", folder)
    subprocess.run(
        [initdb, "-D", data, "-U", "admin", "--auth=scram-sha-256", f"--pwfile={secret}", "-N"],
        check=True,
        capture_output=True,
        cwd=folder,
        **account,
    )
    settings = ["-c", "fsync=off", "-c", "max_prepared_transactions=10"]
    options = ["-p", str(port), "-h", "127.0.0.1", "-k", folder, *settings]
    command = [initdb.with_name("postgres"), "-D", data, *options]
    url = sa.URL.create("postgresql+psycopg", "admin", PASSWORD, "127.0.0.1", port, "postgres")

    @contextmanager
    def serve() -> Iterator[None]:
        with _running(command, port, stop=signal.SIGINT, cwd=folder, **account):
            _wait_until_ready(url)  # it listens before
            yield

    return url, serve


@contextmanager
def pgbouncer(folder: Path, server: PostgreSQL, *, pool_mode: str = "transaction") -> Iterator[int]:
    """Start PgBouncer before a server, and tell its port.

    :raises NoServerError: if it is not installed.
    """
    binary, port = _binary("pgbouncer", Path("/usr/sbin")), free_port()
    (folder / "users").write_text(f'"{USER}" "{PASSWORD}"\n')
    (folder / "ini").write_text(
        f"[databases]\n* = host={server.url.host} port={server.url.port}\n[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = plain\n"
        f"auth_file = {folder / 'users'}\npool_mode = {pool_mode}\ndefault_pool_size = 20\n"
        "ignore_startup_parameters = extra_float_digits\nunix_socket_dir =\n"
    )
    account = _account("postgres", folder)
    with _running([binary, folder / "ini"], port, cwd=folder, **account):
        yield port


@contextmanager
def mysql(folder: Path) -> Iterator[MySQL]:
    """Find or start MariaDB or MySQL.

    :param folder: An empty folder for a server of our own.
    :raises NoServerError: if there is none.
    """
    given = os.environ.get("DBMIGRATE_TEST_MYSQL")
    if given or is_listening(3306):
        yield MySQL(sa.make_url(given or "mysql://root@127.0.0.1:3306/mysql"))
        return
    with own_mysql(folder) as server:
        yield server


@contextmanager
def own_mysql(folder: Path, *options: str) -> Iterator[MySQL]:
    """Start a MariaDB.

    :param options: More options of ``mariadbd``.
    """
    url, serve = mysql_cluster(folder, *options)
    with serve():
        yield MySQL(url)


def mysql_cluster(folder: Path, *options: str) -> Cluster:
    """Make a MariaDB.

    :param options: More options of ``mariadbd``.
    """
    install, server = _binary("mariadb-install-db"), _binary("mariadbd", Path("/usr/sbin"))
    data, port = folder / "data", free_port()
    account = _account("mysql", folder)
    subprocess.run(
        [install, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal"],
        check=True,
        capture_output=True,
        cwd=folder,
        **account,
    )
    command = [
        server,
        "--no-defaults",
        f"--datadir={data}",
        f"--port={port}",
        "--bind-address=127.0.0.1",
        f"--socket={folder / 'socket'}",
        *options,
    ]
    url = sa.URL.create("mysql+pymysql", "root", None, "127.0.0.1", port, "mysql")
    return url, lambda: _running(command, port, cwd=folder, **account)


MYSQL_ROOT = Path(os.environ.get("DBMIGRATE_TEST_MYSQL_ROOT") or "/var/cache/flask-dbmigrate/mysql")
"""A folder with a system in which MySQL is installed; ``.ci/run`` makes it."""


@contextmanager
def oracle_mysql(folder: Path) -> Iterator[MySQL]:
    """Start MySQL itself, which Debian has in 'sid' only: in a root folder of its own.

    What is mounted there is seen by the server's processes alone, and ends with them.

    :param folder: An empty folder for its data.
    :raises NoServerError: if it is not installed, or may not be started.
    """
    if not (MYSQL_ROOT / "usr/sbin/mysqld").exists():
        raise NoServerError(f"there is no MySQL in '{MYSQL_ROOT}', which '.ci/run' makes as root")
    unshare = [str(_binary("unshare")), "--mount"]
    command = [*unshare, "sh", "-ec", _IN_ROOT, "sh", str(MYSQL_ROOT), str(folder)]
    arguments = ["--no-defaults", "--user=root", "--datadir=/srv/data/data"]
    initialize = [*command, *arguments, "--initialize-insecure"]
    done = subprocess.run(initialize, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoServerError(f"MySQL cannot be started: {done.stderr.strip()[-500:]}")
    port = free_port()
    place = [f"--port={port}", "--bind-address=127.0.0.1", "--socket=/srv/data/socket"]
    with _running([*command, *arguments, *place, *_FRUGAL], port):
        yield MySQL(sa.URL.create("mysql", "root", None, "127.0.0.1", port, "mysql"))


_IN_ROOT = """
root=$1 folder=$2
shift 2
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mkdir -p "$root/srv/data"
mount --bind "$folder" "$root/srv/data"
exec chroot "$root" mysqld "$@"
"""

_FRUGAL = (
    "--mysqlx=OFF",
    "--secure-file-priv=",
    "--skip-log-bin",
    "--innodb-flush-log-at-trx-commit=0",
    "--max-connections=100",
    "--table-open-cache=400",
    "--table-definition-cache=400",
    "--lock-wait-timeout=30",  # who waits for himself does not wait for ever
)


def is_listening(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(url: sa.URL) -> None:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    deadline = time.monotonic() + 30
    while True:
        try:
            engine.connect().close()
            return
        except sa.exc.OperationalError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.02)  # no event tells that a server answers


def _binary(name: str, *folders: Path) -> Path:
    path = shutil.which(name, path=os.pathsep.join(map(str, (*folders, os.environ["PATH"]))))
    if path is None:
        raise NoServerError(f"there is no '{name}' on this machine")
    return Path(path)


def _account(name: str, folder: Path) -> dict[str, t.Any]:
    """Run a server as the account its package made: as root it refuses to run."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return {}
    shutil.chown(folder, name)
    return {"user": name}


@contextmanager
def _running(
    command: list[t.Any], port: int, *, stop: int = signal.SIGTERM, **options: t.Any
) -> Iterator[None]:
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options
    )
    try:
        deadline = time.monotonic() + 30
        while not is_listening(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise NoServerError(f"'{command[0]}' does not start")
            time.sleep(0.05)  # no event tells that a server listens
        yield
    finally:
        process.send_signal(stop)
        process.wait(30)
