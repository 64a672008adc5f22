"""Alembic runs this file whenever it needs the database.

The database is the application's SQLALCHEMY_DATABASE_URI, and the models are its db.metadata;
both are found through the application's Migrate(app, db). Make sure that the application
imports its models: what is not imported is not in the metadata.

The databases of SQLALCHEMY_BINDS are included as soon as one of them has models;
run_migrations(multidb=False) leaves them out.

Options of Alembic's EnvironmentContext.configure() can be given here, such as
run_migrations(include_schemas=True); they come before those given to Migrate(app, db).
"""

from flask_dbmigrate.env import run_migrations

run_migrations()
