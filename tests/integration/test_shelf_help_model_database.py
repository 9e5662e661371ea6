"""The model against PostgreSQL: a naive consumer must leave the model's rows.

The consumer, one transaction an event, takes from the model only which records are good; what they do
to the tables is plain SQL with the texts unchanged, so that dates, times and limits are PostgreSQL's
own.
"""

import hashlib

import psycopg
import pytest

from support.shelf_help_events import HOSTILE, Mix, generate
from support.shelf_help_model import Model, diff, open_envelope, read_database

ODD = Mix(
    shelf_share=0.7,
    book_pool=100,
    shelf_pool=20,
    hostile=0.5,
    odd_times=0.8,
    odd_shapes=0.2,
    nulls=0.5,
)


def book_values(book):
    names = ("title", "author", "goodreads_id", "isbn")
    text = "-".join("None" if book[name] is None else book[name] for name in names)
    return {**book, "hash": hashlib.sha256(text.encode()).hexdigest()}


def store(db, event):
    if event["msg_type"] == "SHELFSEARCH":
        [shelf_id] = db.execute(
            "INSERT INTO shelves (shelf_url, date_added, date_last_searched)"
            " VALUES (%(shelf_url)s, %(time_start)s::timestamp, %(time_start)s::timestamp)"
            " ON CONFLICT (shelf_url) DO UPDATE SET date_last_searched = excluded.date_last_searched"
            " RETURNING shelf_id",
            event,
        ).fetchone()
        books = []
        for book in event["books"]:
            books += db.execute(
                "INSERT INTO books (unique_hash, gr_id, title, author, isbn, date_added, date_last_displayed)"
                " VALUES (%(hash)s, %(goodreads_id)s::bigint, %(title)s, %(author)s, %(isbn)s,"
                " %(start)s::timestamp, %(start)s::timestamp)"
                " ON CONFLICT (unique_hash) DO UPDATE SET date_last_displayed = excluded.date_last_displayed"
                " RETURNING book_id",
                book_values(book) | {"start": event["time_start"]},
            ).fetchone()
        db.execute(
            "INSERT INTO shelf_searches (shelf_id, num_books, time_start, time_complete, total_book_count,"
            " books_returned, search_type) VALUES (%(shelf_id)s, %(num_books)s, %(time_start)s::timestamp,"
            " %(time_end)s::timestamp, %(total_books)s, %(ids)s::bigint[], %(search_type)s)",
            event | {"shelf_id": shelf_id, "ids": books},
        )
    else:
        book = book_values(event["book"])
        db.execute(
            "INSERT INTO books (unique_hash, gr_id, title, author, isbn)"
            " VALUES (%(hash)s, %(goodreads_id)s::bigint, %(title)s, %(author)s, %(isbn)s) ON CONFLICT DO NOTHING",
            book,
        )
        db.execute(
            "INSERT INTO library_searches (library_id, is_libby, time_start, time_complete, book_id, available,"
            " availability_message) SELECT %(library_id)s, %(is_libby)s, %(time_start)s::timestamp,"
            " %(time_end)s::timestamp, book_id, %(available)s, %(availability_message)s"
            " FROM books WHERE unique_hash = %(hash)s",
            event | {"hash": book["hash"]},
        )


@pytest.mark.parametrize("mix, count", [(HOSTILE, 4000), (ODD, 2000)], ids=["hostile", "odd"])
def test_a_naive_consumer_leaves_the_models_rows(database, apply_migrations, mix, count):
    apply_migrations(database)
    model = Model()
    refused = 0
    # Any zone but UTC: the rows must not depend on it.
    with psycopg.connect(database, autocommit=True, options="-c TimeZone=Asia/Tokyo") as db:
        for _, value, _ in generate(count, seed=21, mix=mix):
            verdict = model.feed(value)
            if verdict.kind == "stored":
                with db.transaction():
                    store(db, open_envelope(value)[1])
            elif verdict.reason in ("library", "too_long"):
                with pytest.raises(
                    (psycopg.errors.ForeignKeyViolation, psycopg.errors.ProgramLimitExceeded)
                ):
                    with db.transaction():
                        store(db, open_envelope(value)[1])
                refused += 1
    assert diff(model.rows, read_database(database)) == []
    assert refused or not mix.bad


def test_a_difference_is_seen(database, apply_migrations):
    apply_migrations(database)
    model = Model().feed_all(value for _, value, _ in generate(50))
    tables = [
        line.split(":")[0] for line in diff(model.rows, read_database(database)) if line[0] != " "
    ]
    assert tables == ["books", "shelves", "shelf_searches", "library_searches"]
    assert diff(model.rows, model.rows) == []
