# Settings of Alembic for this migration directory. The database and the models do not come
# from here but from the Flask application: see env.py.

[alembic]
script_location = %(here)s
prepend_sys_path = .
path_separator = os

# Names of new revision scripts. Uncomment for names in chronological order:
# file_template = %%(year)d%%(month).2d%%(day).2d_%%(hour).2d%%(minute).2d_%%(rev)s_%%(slug)s

# Longest part of a name that comes from the message:
# truncate_slug_length = 40

# Time zone of dates in scripts and names; needs "alembic[tz]". Local time by default.
# timezone = UTC

# Run env.py for 'flask db revision', too:
# revision_environment = false

# Format new scripts, for example with ruff:
# [post_write_hooks]
# hooks = ruff
# ruff.type = exec
# ruff.executable = ruff
# ruff.options = format REVISION_SCRIPT_FILENAME

# Logging under the plain 'alembic' command; 'flask db' does not read it.
[loggers]
keys = root,sqlalchemy,alembic,flask_dbmigrate

[handlers]
keys = console

[formatters]
keys = generic

[logger_root]
level = WARNING
handlers = console
qualname =

[logger_sqlalchemy]
level = WARNING
handlers =
qualname = sqlalchemy.engine

[logger_alembic]
level = INFO
handlers =
qualname = alembic

[logger_flask_dbmigrate]
level = INFO
handlers =
qualname = flask_dbmigrate

[handler_console]
class = StreamHandler
args = (sys.stderr,)
level = NOTSET
formatter = generic

[formatter_generic]
format = %(levelname)-5.5s [%(name)s] %(message)s
datefmt = %H:%M:%S
