"""A small library: the application that the README walks through."""

from __future__ import annotations

import os
import typing as t

from flask import Flask

from . import models as models  # autogenerate sees what is imported
from .books import blueprint
from .extensions import db
from .extensions import migrate


def create_app(config: dict[str, t.Any] | None = None) -> Flask:
    """Create the application.

    The database is ``DATABASE_URL``, as Heroku sets it, or an SQLite file in the instance folder.

    :param config: Settings that come before everything else.
    """
    app = Flask(__name__, instance_relative_config=True)
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ.get("DATABASE_URL", "sqlite:///library.db")
    app.config.update(config or {})
    db.init_app(app)
    migrate.init_app(app, db)
    app.register_blueprint(blueprint)
    return app
