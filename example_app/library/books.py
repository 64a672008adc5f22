"""The books, as JSON."""

from __future__ import annotations

import typing as t

from flask import Blueprint
from flask import request

from .extensions import db
from .models import Author
from .models import Book

blueprint = Blueprint("books", __name__, url_prefix="/books")


@blueprint.get("/")
def list_books() -> list[dict[str, t.Any]]:
    """List all books."""
    books = db.session.scalars(db.select(Book).order_by(Book.title))
    return [{"title": book.title, "author": book.author.name} for book in books]


@blueprint.post("/")
def add_book() -> tuple[dict[str, t.Any], int]:
    """Add a book: ``{"title": …, "author": …}``."""
    fields = request.get_json()
    name = fields["author"]
    author = db.session.scalar(db.select(Author).filter_by(name=name)) or Author(name=name)
    book = Book(title=fields["title"], author=author)
    db.session.add(book)
    db.session.commit()
    return {"title": book.title, "author": name}, 201
