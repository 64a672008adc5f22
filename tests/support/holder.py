"""Executes statements in a transaction and keeps it open until its standard input is closed."""

import sys

import sqlalchemy as sa

url, *statements = sys.argv[1:]
with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
    for statement in statements:
        connection.exec_driver_sql(statement)
    print("ready", flush=True)
    sys.stdin.read()
