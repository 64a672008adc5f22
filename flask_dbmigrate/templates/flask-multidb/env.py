"""Alembic runs this file whenever it needs the databases.

The databases are the application's SQLALCHEMY_DATABASE_URI and SQLALCHEMY_BINDS, and the models
of each are in db.metadatas; both are found through the application's Migrate(app, db). Make
sure that the application imports its models: what is not imported is not in the metadata.

With run_migrations() instead of run_migrations(multidb=True), the databases of SQLALCHEMY_BINDS
are included as soon as one of them has models.

Options of Alembic's EnvironmentContext.configure() can be given here, such as
run_migrations(multidb=True, include_schemas=True); they come before those given to Migrate.
"""

from flask_dbmigrate.env import run_migrations

run_migrations(multidb=True)
