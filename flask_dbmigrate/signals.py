"""Signals around what changes a database, as Flask has them around requests.

The sender of each is the application. Receivers take the named arguments they want and
``**extra``, for those to come::

    @after_run.connect_via(app)
    def clear_cache(sender, *, error, **extra):
        if error is None:
            cache.clear()

``flask db upgrade``, ``downgrade`` and ``stamp`` send them, and so do the functions of the same
names, in the process that does the work and while it holds the migration lock. Where nothing is
pending, where another process has done it, and with ``--sql``, none is sent.

An error that a receiver raises stops the run; nothing is ever left half-done by it. It becomes a
:class:`~flask_dbmigrate.MigrationError` unless it is one of this package's errors. A receiver that
uses ``db.session`` ends its transaction, or the run may wait for it.
"""

from __future__ import annotations

from blinker import Namespace

_signals = Namespace()

before_run = _signals.signal(
    "before-run",
    """Something is going to be run; no connection but the lock's is open yet.

    An error that a receiver raises is a veto: nothing is run.

    :param command: ``upgrade``, ``downgrade`` or ``stamp``.
    :param databases: The keys of the databases on which something is to be done; those of a
        stamp are all that it is for.
    """,
)

after_revision = _signals.signal(
    "after-revision",
    """A revision was run, or a stamp set, and is committed.

    Those that share a transaction, with one another or with other databases, are announced when
    all have committed. A connection that was handed in is its owner's to commit. An error that
    a receiver raises stops the run before the next revision, and undoes nothing.

    :param command: ``upgrade``, ``downgrade`` or ``stamp``.
    :param database: The key of the database.
    :param step: A :class:`~flask_dbmigrate.StepResult`.
    """,
)

after_run = _signals.signal(
    "after-run",
    """The run that ``before_run`` announced has ended, in whatever way.

    :param command: ``upgrade``, ``downgrade`` or ``stamp``.
    :param databases: As in ``before_run``.
    :param result: The :class:`~flask_dbmigrate.MigrationResult`; None after an error.
    :param error: What stopped the run, a veto and Ctrl-C included; None if nothing did. An error
        that a receiver raises then is logged, and does not take its place.
    """,
)
