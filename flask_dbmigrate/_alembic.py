"""Every private name of Alembic, one function each; tested with 1.18.5 and 1.20.1."""

from __future__ import annotations

from contextlib import contextmanager
import functools
import inspect
import logging
import os
from pathlib import Path
import re
import subprocess
import sys
import threading
import traceback
from types import ModuleType
import typing as t

from alembic.autogenerate import render
from alembic.autogenerate.compare.util import _InspectorConv
import alembic.context
from alembic.ddl.postgresql import PostgresqlImpl
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.runtime.migration import MigrationInfo
from alembic.runtime.migration import RevisionStep
from alembic.script import Script
from alembic.script import ScriptDirectory
from alembic.script import write_hooks
from alembic.script.revision import RevisionMap
from alembic.util import CommandError
from alembic.util import load_python_file
from alembic.util import sqla_compat
import sqlalchemy as sa
from sqlalchemy.engine.mock import MockConnection

from .errors import ScriptError
from .wording import words_of


class Step(t.Protocol):
    """What Alembic calls a migration step: one revision in one direction, or a stamp."""

    @property
    def info(self) -> MigrationInfo: ...

    def __str__(self) -> str: ...


def register_environment(environment: type[EnvironmentContext]) -> None:
    """Let ``from alembic import context`` speak for a subclass of ``EnvironmentContext`` too.

    Alembic registers its module proxies class by class; without this, ``context`` finds None.
    """
    attributes = vars(alembic.context)
    environment.create_module_class_proxy(attributes, attributes)


class NoIdentifierError(Exception):
    """A script whose ``revision`` is no name; the text is its path."""


def load_scripts(directory: ScriptDirectory) -> t.Iterator[Script]:
    """Import the revision scripts of a directory, one after the other."""
    return directory._load_revisions()


def load_script(directory: ScriptDirectory, path: str) -> Script | None:
    """Import a revision script; None if Alembic does not take it for one.

    :raises NoIdentifierError: if its ``revision`` is missing, or Alembic cannot even look at it.
    """
    try:
        return Script._from_path(directory, path)
    except (TypeError, CommandError) as error:
        raised_in = traceback.extract_tb(error.__traceback__)[-1].name
        if raised_in not in (Script._from_path.__name__, Script.verify_rev_id.__name__):
            raise
        raise NoIdentifierError(path) from error


def import_script(path: str) -> ModuleType:
    """Import a revision script as a module, as Alembic does."""
    return load_python_file(*os.path.split(path))


def version_locations(directory: ScriptDirectory) -> tuple[str, ...]:
    """Tell the folders that hold a directory's revision scripts."""
    return tuple(str(path) for path in directory._version_locations)


def revision_map(
    load: t.Callable[[], t.Sequence[Script]], *, heads: tuple[str, ...] | None
) -> RevisionMap:
    """Make the graph of scripts.

    :param load: Reads the scripts, when the graph is first asked for more than its heads.
    :param heads: Its heads, if they are known before.
    """
    unread = [load]  # what was needed to read them is forgotten afterwards

    def read() -> t.Sequence[Script]:
        scripts = unread[0]()
        unread.clear()
        return scripts

    revisions = _Revisions(read)
    if heads is not None:
        revisions.heads = heads
    return revisions


class _Revisions(RevisionMap):
    """Looks for circles only where a script comes before one that it comes after."""

    def _detect_cycles(self, rev_map: t.Any, *others: t.Any) -> None:
        known: set[str] = set()
        for script in rev_map.values():
            if not known.issuperset(script._all_down_revisions):
                super()._detect_cycles(rev_map, *others)
                return
            known.add(script.revision)


def current_scripts(revisions: RevisionMap, heads: tuple[str, ...]) -> set[Script]:
    """Find the scripts that a version table with these heads stands for.

    On a branch that another one depends on, that is the last one that was applied. It is what
    ``ScriptDirectory.get_all_current()`` finds; that takes seconds for thousands of revisions.
    """
    applied: dict[str, Script] = {}
    found = list(revisions.get_revisions(heads))
    while found:
        script = t.cast("Script | None", found.pop())
        if script is not None and script.revision not in applied:
            applied[script.revision] = script
            found.extend(map(revisions.get_revision, script._all_down_revisions))
    return {script for script in applied.values() if script.nextrev.isdisjoint(applied)}


def upgrade_steps(
    directory: ScriptDirectory, target: str, heads: tuple[str, ...]
) -> t.Sequence[Step]:
    """Plan the way up from these heads to a target."""
    if target in ("head", "heads") and [*heads] == directory.get_heads() and len(heads) == 1:
        return ()  # Alembic goes through all revisions to find that
    with _functions_of_scripts():
        return directory._upgrade_revs(target, heads)  # type: ignore[arg-type]


def downgrade_steps(
    directory: ScriptDirectory, target: str, heads: tuple[str, ...]
) -> t.Sequence[Step]:
    """Plan the way down from these heads to a target."""
    with _functions_of_scripts():
        return directory._downgrade_revs(target, heads)  # type: ignore[arg-type]


@contextmanager
def _functions_of_scripts() -> t.Iterator[None]:
    """Name the script that lacks the function a step needs: Alembic looks for it while planning."""
    try:
        yield
    except AttributeError as error:
        if not isinstance(error.obj, ModuleType):
            raise
        path = str(error.obj.__file__)
        raise ScriptError(
            f"The script '{path}' has no function '{error.name}()'.",
            hint=f"Add 'def {error.name}(): pass', or what it should do.",
            path=path,
        ) from error


def revision_step(
    directory: ScriptDirectory, revision: str, *, is_upgrade: bool, is_empty: bool = False
) -> Step | None:
    """Make the step of one revision; None if there is no such script.

    :param is_empty: Whether it only moves the version.
    """
    try:
        script = directory.get_revision(revision)
    except CommandError:
        return None
    with _functions_of_scripts():
        step = RevisionStep(directory.revision_map, script, is_upgrade)
    if is_empty:
        step.migration_fn = lambda **_: None
    return step


def uppermost(directory: ScriptDirectory, scripts: t.Collection[Script]) -> list[str]:
    """Name those of some scripts that none of the others comes after or depends on."""
    below: set[t.Any] = set()
    for script in scripts:
        below.update(set(directory.revision_map._get_ancestor_nodes([script])) - {script})
    return [script.revision for script in scripts if script not in below]


def stamp_steps(
    directory: ScriptDirectory, targets: tuple[str, ...], heads: tuple[str, ...]
) -> t.Sequence[Step]:
    """Plan how the version table gets from these heads to these targets."""
    return directory._stamp_revs(targets, heads)


def adapt_function(step: Step, arguments: t.Mapping[str, t.Any], *, is_default: bool) -> None:
    """Let a script run on one or several databases, whichever it was written for.

    One that knows no bind keys belongs to the default database, and one without a function for
    a bind key has nothing to do there.

    :param arguments: What env.py gives to ``run_migrations()``; ``engine_name`` is the bind key,
        and env.py gives nothing where there is one database.
    :param is_default: Whether this is the default database.
    """
    if not isinstance(step, RevisionStep) or not arguments.keys() <= {"engine_name"}:
        return
    function = step.migration_fn
    parameters = inspect.signature(function).parameters
    if not arguments and "engine_name" not in parameters:
        return

    @functools.wraps(function)
    def run(engine_name: str = "") -> None:
        if not parameters:
            if is_default:
                function()
            return
        try:
            function(engine_name=engine_name)
        except KeyError as error:  # scripts of Flask-Migrate look it up in their globals()
            if error.args != (f"{function.__name__}_{engine_name}",):
                raise

    step.migration_fn = run


def adapt_functions(
    context: MigrationContext, arguments: t.Mapping[str, t.Any], *, is_default: bool
) -> None:
    """Adapt the functions of all scripts that a context runs; see :func:`adapt_function`."""
    plan = context._migrations_fn
    assert plan is not None

    def steps(heads: t.Any, of: MigrationContext) -> t.Iterator[t.Any]:
        for step in plan(heads, of):
            adapt_function(step, arguments, is_default=is_default)
            yield step

    context._migrations_fn = steps


def ensure_version_table(context: MigrationContext) -> None:
    """Create the version table unless it exists; offline, write its CREATE TABLE."""
    context._ensure_version_table()


def version_table(context: MigrationContext) -> sa.Table:
    """Tell the table in which a context notes where the database stands."""
    return context._version


def pass_over_empty_rows(context: MigrationContext) -> None:
    """Have Alembic pass over rows of the version table in which nothing is."""
    read = context.get_current_heads

    def get_current_heads() -> tuple[str, ...]:
        return tuple(filter(None, read()))

    context.get_current_heads = get_current_heads  # type: ignore[method-assign]


def overlapping_heads(error: CommandError) -> tuple[str, str] | None:
    """Tell which two revisions are on one line, the later one first, if that is the error."""
    words = r"Requested revision (\S+) overlaps with other requested revisions ([^\s,]+)"
    found = re.match(words, str(error))
    return (found[1], found[2]) if found else None


def lacks_constraint_name(error: BaseException) -> bool:
    """Tell whether an operation has failed because a constraint has no name."""
    if isinstance(error, AssertionError | TypeError):  # on MySQL; TypeError: SQLAlchemy 2.0.16
        frames = traceback.extract_tb(error.__traceback__)
        return any(frame.name == "_mysql_drop_constraint" for frame in frames)
    words = words_of(error)
    return "constraint" in words.lower() and ("it has no name" in words or "have a name" in words)


def is_in_transaction(context: MigrationContext) -> bool:
    """Tell whether somebody has begun a transaction around what a context executes now.

    SQLAlchemy alone does not tell: it begins one by itself when the first statement comes.
    """
    return context._in_external_transaction or context._transaction is not None


def refuse_parameters(context: MigrationContext) -> None:
    """Have the connection of an offline run refuse parameters; Alembic writes what has none."""

    def execute(construct: t.Any, parameters: t.Any = None) -> None:
        context.impl._exec(construct, multiparams=parameters or None)

    connection = t.cast(sa.Connection, MockConnection(context.dialect, execute))
    context.connection = context.impl.connection = connection


def is_in_transaction_of_others(context: MigrationContext) -> bool:
    """Tell whether a transaction was begun before env.py configured the context."""
    return context._in_external_transaction


Execute = t.Callable[[], t.Any]


def intercept_statements(
    context: MigrationContext, around: t.Callable[[t.Any, t.Any, Execute], t.Any]
) -> None:
    """Have a function execute each statement that operations emit.

    :param around: Is given the statement, a construct of SQLAlchemy or a string, its parameters,
        and what executes it.
    """
    execute = context.impl._exec

    def intercept(
        construct: t.Any, execution_options: t.Any = None, multiparams: t.Any = None, **rest: t.Any
    ) -> t.Any:
        run = functools.partial(execute, construct, execution_options, multiparams, **rest)
        return around(construct, multiparams or rest.get("params"), run)

    context.impl._exec = intercept  # type: ignore[method-assign,assignment]


def check_result(step: Step, check: t.Callable[[object], object]) -> None:
    """Have what the function of a script returns checked; a stamp has none.

    :param check: Raises an error if the result shows that nothing was done.
    """
    if not isinstance(step, RevisionStep):
        return
    function = step.migration_fn

    @functools.wraps(function)
    def run(**arguments: t.Any) -> None:
        check(function(**arguments))

    step.migration_fn = run


def surround_function(step: Step, surrounding: t.Callable[[], t.ContextManager[object]]) -> None:
    """Have the function of a script run in a context; a stamp has none."""
    if not isinstance(step, RevisionStep):
        return
    function = step.migration_fn

    @functools.wraps(function)
    def run(**arguments: t.Any) -> None:
        with surrounding():
            function(**arguments)

    step.migration_fn = run


@contextmanager
def whole_scripts(
    directory: ScriptDirectory, check: t.Callable[[str, str], object]
) -> t.Iterator[list[Path]]:
    """Have new scripts written beside their places, and moved there when they are whole.

    :param check: Is given a script and its place before that; what it raises keeps the script away.
    :returns: The scripts that were written so far.
    """
    generate = directory._generate_template
    written: list[Path] = []

    def generate_whole(source: Path, path: Path, **names: t.Any) -> None:
        part = path.with_suffix(".part")
        try:
            generate(source, part, **names)
            check(part.read_text(directory.output_encoding), os.fspath(path))
            part.replace(path)
        except OSError as error:
            if error.filename in (None, os.fspath(part)):
                error.filename = os.fspath(path)
            raise
        finally:
            part.unlink(missing_ok=True)
        written.append(path)

    directory._generate_template = generate_whole  # type: ignore[method-assign,assignment]
    try:
        yield written
    finally:
        del directory._generate_template


_hooks = threading.RLock()


@contextmanager
def hooks_watched(tell: t.Callable[[str, int], object]) -> t.Iterator[None]:
    """Have what post-write hooks print go to stderr, and tell which of them fail.

    Alembic takes no notice of how their processes end.

    :param tell: Is given the name of a hook that has failed, and its exit code.
    """
    original = write_hooks._run_hook

    def run(path: str, options: dict[str, t.Any], ignore_output: bool, command: list[str]) -> None:
        arguments = write_hooks._parse_cmdline_options(options.get("options", ""), path)
        output = subprocess.DEVNULL if ignore_output else sys.__stderr__
        done = subprocess.run(
            [*command, *arguments],
            cwd=options.get("cwd"),
            stdout=output,
            stderr=output,
            check=False,
        )
        if done.returncode:
            tell(options["_hook_name"], done.returncode)

    with _hooks:
        write_hooks._run_hook = run
        try:
            yield
        finally:
            write_hooks._run_hook = original


def failed_in_hook(error: BaseException) -> bool:
    """Tell whether an error comes from a post-write hook: the script was written by then."""
    frames = traceback.extract_tb(error.__traceback__)
    return any(frame.filename == write_hooks.__file__ for frame in frames)


def unwritable_operation(error: BaseException) -> str:
    """Name what could not be written as Python; empty if the error comes from something else."""
    name = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        operation: t.Any = frame.f_locals.get("op")
        if frame.f_code.co_filename == render.__file__ and hasattr(operation, "table_name"):
            index = getattr(operation, "index_name", None)
            name = f"Index '{index}' of table" if index else "Table"
            name += f" '{operation.table_name}'"
    return name


def description_of(step: Step) -> str:
    """Describe a step in a line: ``upgrade a -> b, message``, or ``stamp a -> b``.

    Alembic 1.18 to 1.20: the name of a stamp is that of its command's function.
    """
    return str(step).replace("stamp_revision", "stamp", 1)


def script_of(step: Step) -> Script | None:
    """Tell which script a step runs; None for a stamp."""
    return getattr(step, "revision", None)


def has_variants(type_: sa.types.TypeEngine[t.Any]) -> bool:
    """Tell whether a type is another one on some DBMS; Alembic writes both."""
    return bool(sqla_compat._type_has_variants(type_))  # type: ignore[no-untyped-call]


def intercept_sequences(
    context: MigrationContext, owners: t.Callable[[str | None], t.Mapping[str, str | None]]
) -> None:
    """Answer from memory what Alembic asks PostgreSQL of each serial column: who owns its sequence.

    Alembic does not compare the default of a column that does.

    :param owners: Is given a schema and tells the column that owns each of its sequences. Alembic
        goes on to ask about a sequence that is not there.
    """
    impl = context.impl
    if type(impl).autogen_column_reflect is not PostgresqlImpl.autogen_column_reflect:
        return
    ask: t.Callable[..., object] = impl.autogen_column_reflect

    def intercept(inspector: sa.Inspector, table: sa.Table, column: t.Any) -> None:
        default = re.match(r"nextval\('(.+?)'::regclass\)", column.get("default") or "")
        if default is None or not isinstance(column["type"], sa.INTEGER | sa.BIGINT):
            return
        known, name = owners(table.schema), default[1].replace("''", "'")
        # SQLAlchemy adds the schema if PostgreSQL finds the sequence without it
        names = (name, name.removeprefix(f'"{table.schema}".'))
        sequence = next((name for name in names if name in known), None)
        if sequence is None:
            ask(inspector, table, column)
        elif known[sequence] == column["name"]:
            del column["default"]
            logging.getLogger(PostgresqlImpl.__module__).info(
                "Detected sequence named '%s' as owned by integer column '%s(%s)', "
                "assuming SERIAL and omitting",
                sequence,
                table.name,
                column["name"],
            )

    impl.autogen_column_reflect = intercept  # type: ignore[method-assign]


def cache_tables(
    inspector: sa.Inspector, schemas: t.Mapping[str | None, tuple[list[str], t.Collection[str]]]
) -> None:
    """Read the tables of all schemas at once; Alembic does so with the first schema alone.

    What was read of a table is forgotten when Alembic has seen it: its memory serves the next one.

    :param schemas: The tables to read of each schema, and all that it has.
    """
    cache, read = inspector.info_cache, t.cast("dict[str, t.Any]", {})
    others = set(cache)
    for schema, (names, available) in schemas.items():
        if not names:  # would mean all of them
            continue
        _InspectorConv(inspector).pre_cache_tables(schema, names, available)
        for key in [key for key in cache if str(key).startswith("alembic_")]:
            found = cache.pop(key)
            if isinstance(found, dict):
                found = _Answers({**read.get(key, {}), **found}, given_twice=key in _COMPARED)
            read[key] = found
    for key in cache.keys() - others:  # SQLAlchemy keeps the same for each table
        del cache[key]
    cache.update(read)


_COMPARED = ("alembic_unique_constraints", "alembic_indexes", "alembic_foreign_keys")
"""What Alembic asks for twice: to reflect a table, and to compare it."""


class _Answers(dict[t.Any, t.Any]):
    """What was read of each table. Who asks once more than Alembic does makes it ask the database.

    :param given_twice: Whether an answer is forgotten when it is given for the second time.
    """

    def __init__(self, answers: dict[t.Any, t.Any], *, given_twice: bool) -> None:
        super().__init__(answers)
        self._first = set(answers) if given_twice else set()

    def get(self, key: t.Any, default: t.Any = None) -> t.Any:
        if key in self._first:
            self._first.remove(key)
            return self[key]
        return self.pop(key, default)
