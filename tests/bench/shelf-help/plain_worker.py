"""The yardstick: what a competent Python programmer would write for shelf-help.events.

confluent-kafka, orjson and psycopg 3: batches of up to 1,000 events in one transaction, statements prepared and
pipelined, offsets committed after the database. It stores each MessageId once, like the writer, but checks
less: a bad record would stop it. Ends when it has handled COUNT records.
"""
import hashlib
import os
import sys

import orjson
import psycopg
from confluent_kafka import Consumer

BATCH = 1000

UPSERT_SHELF = """insert into shelves (shelf_url, date_added, date_last_searched) values (%s, %s, %s)
    on conflict (shelf_url) do update set date_last_searched = excluded.date_last_searched returning shelf_id"""
UPSERT_BOOK = """insert into books (unique_hash, gr_id, title, author, isbn, date_added, date_last_displayed)
    values (%s, %s, %s, %s, %s, %s, %s)
    on conflict (unique_hash) do update set date_last_displayed = excluded.date_last_displayed returning book_id"""
INSERT_BOOK = """insert into books (unique_hash, gr_id, title, author, isbn) values (%s, %s, %s, %s, %s)
    on conflict (unique_hash) do nothing"""
INSERT_SHELF_SEARCH = """insert into shelf_searches (shelf_id, num_books, time_start, time_complete,
    total_book_count, books_returned, search_type) values (%s, %s, %s, %s, %s, %s, %s)"""
INSERT_LIBRARY_SEARCH = """insert into library_searches (library_id, is_libby, time_start, time_complete, book_id,
    available, availability_message) values (%s, %s, %s, %s, (select book_id from books where unique_hash = %s), %s, %s)"""


def book_hash(book):
    text = "-".join((book["title"], book["author"], book["goodreads_id"], book["isbn"]))
    return hashlib.sha256(text.encode()).hexdigest()


def book_row(book):
    return book_hash(book), int(book["goodreads_id"]), book["title"], book["author"], book["isbn"]


def write_shelf_searches(cursor, events):
    """Distinct shelves and books of the batch once each, by executemany, then the searches."""
    shelves, books = {}, {}
    for event in events:
        start = event["time_start"]
        first = shelves.setdefault(event["shelf_url"], [start, start])
        first[1] = start
        for book in event["books"]:
            row = book_row(book)
            first = books.setdefault(row[0], [row, start, start])
            first[2] = start
    ids = {}
    if shelves:
        cursor.executemany(UPSERT_SHELF, [(url, *dates) for url, dates in shelves.items()], returning=True)
        for url in shelves:
            ids[url] = cursor.fetchone()[0]
            cursor.nextset()
    if books:
        cursor.executemany(UPSERT_BOOK, [(*row, a, b) for row, a, b in books.values()], returning=True)
        for key in books:
            ids[key] = cursor.fetchone()[0]
            cursor.nextset()
    cursor.executemany(
        INSERT_SHELF_SEARCH,
        [
            (
                ids[e["shelf_url"]], e["num_books"], e["time_start"], e["time_end"], e["total_books"],
                [ids[book_hash(b)] for b in e["books"]], e.get("search_type"),
            )
            for e in events
        ],
    )


def write_library_searches(cursor, events):
    books = {row[0]: row for row in (book_row(e["book"]) for e in events)}
    cursor.executemany(INSERT_BOOK, list(books.values()))
    cursor.executemany(
        INSERT_LIBRARY_SEARCH,
        [
            (
                e["library_id"], e["is_libby"], e["time_start"], e["time_end"], book_hash(e["book"]),
                e["available"], e["availability_message"],
            )
            for e in events
        ],
    )


def write(connection, messages):
    envelopes = {}
    for message in messages:
        envelope = orjson.loads(message.value())
        envelopes.setdefault(envelope["MessageId"], envelope)
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(
            "insert into shelf_help_messages (message_id) select unnest(%s::text[]) on conflict do nothing"
            " returning message_id",
            (list(envelopes),),
        )
        new = {row[0] for row in cursor.fetchall()}
        events = [orjson.loads(e["Message"]) for key, e in envelopes.items() if key in new]
        shelf = [e for e in events if e["msg_type"] == "SHELFSEARCH"]
        library = [e for e in events if e["msg_type"] == "LIBRARYSEARCH"]
        if shelf:
            write_shelf_searches(cursor, shelf)
        if library:
            write_library_searches(cursor, library)


def main(topic, count):
    consumer = Consumer(
        {
            "bootstrap.servers": os.environ["WEIR_BROKERS"],
            "group.id": f"{topic}.plain-python",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([topic])
    done = 0
    with psycopg.connect(os.environ["SHELF_HELP_DATABASE_URL"], autocommit=True) as connection:
        while done < count:
            messages = [m for m in consumer.consume(BATCH, timeout=1.0) if not m.error()]
            if messages:
                write(connection, messages)
                consumer.commit(asynchronous=False)
                done += len(messages)
    consumer.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
