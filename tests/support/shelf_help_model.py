"""An independent model of the shelf-help writer: events in, the expected rows of its database out.

Written from the description of the pipeline alone, in another language than the writer, so that it
can judge the writer. Rows are in a normal form without ids, because ids have gaps and differ between
runs: a shelf is its URL, a book its hash. read_database() gives the same form from PostgreSQL, diff()
compares.

A record passes three gates, in this order:
  1. its form, which needs nothing but the record: dead letter, or unknown msg_type (no rows, no fault);
  2. its id: seen before, nothing happens, whatever its text says now;
  3. what only the database knows (unknown library, URL too long for the index): dead letter.
Only a record that passes all three uses up its id.
"""

import csv
import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import psycopg

LIBRARIES_CSV = Path(__file__).parents[2] / "proto" / "shelf-help" / "libraries.csv"

# Above this a URL that does not compress is refused by the B-tree index (SQLSTATE 54000). One that
# does compress may pass: the model does not know which, so only feed it URLs of random text.
SHELF_URL_MAX_BYTES = 2690

BOOK_MEMBERS = ("title", "author", "isbn", "goodreads_id")


def read_libraries(path=LIBRARIES_CSV):
    """Library id -> name, in seed order."""
    with open(path, encoding="utf-8", newline="") as file:
        return {row["id"]: row["name"] for row in csv.DictReader(file)}


class Bad(Exception):
    """The record can never succeed; the argument is the reason kind, for instance "time"."""


class Verdict(NamedTuple):
    kind: str  # stored, duplicate, unknown, dead
    reason: str | None = None  # of a dead letter: the argument of Bad


@dataclass
class Rows:
    """The five tables. A time is text as PostgreSQL prints it: year 10000 is no datetime."""

    libraries: dict = field(default_factory=dict)  # id -> name
    # hash -> (gr_id, title, author, isbn, added, last_displayed)
    books: dict = field(default_factory=dict)
    shelves: dict = field(default_factory=dict)  # url -> (added, last_searched)
    # (url, num_books, time_start, time_complete, total_book_count, (book hash, ...), search_type)
    # -> how often
    shelf_searches: Counter = field(default_factory=Counter)
    # (library_id, is_libby, time_start, time_complete, book hash, available, message) -> how often
    library_searches: Counter = field(default_factory=Counter)


class Model:
    """Feed it the values of one partition in offset order."""

    def __init__(self, libraries=None):
        self.rows = Rows(libraries=dict(read_libraries() if libraries is None else libraries))
        self.dead = []  # (index, reason kind)
        self.duplicates = []  # indexes
        self.unknown = []  # indexes
        self.message_ids = set()
        self.received = 0

    def feed(self, value):
        index, self.received = self.received, self.received + 1
        try:
            verdict = self._take(value)
        except Bad as bad:
            verdict = Verdict("dead", str(bad))
            self.dead.append((index, verdict.reason))
        if verdict.kind == "duplicate":
            self.duplicates.append(index)
        elif verdict.kind == "unknown":
            self.unknown.append(index)
        return verdict

    def feed_all(self, values):
        for value in values:
            self.feed(value)
        return self

    def _take(self, value):
        message_id, event = open_envelope(value)
        if "msg_type" not in event:
            raise Bad("missing")
        if event["msg_type"] == "SHELFSEARCH":
            check, store = check_shelf_search, self._store_shelf_search
        elif event["msg_type"] == "LIBRARYSEARCH":
            check, store = check_library_search, self._store_library_search
        else:
            return Verdict("unknown")
        checked = check(event)
        if message_id in self.message_ids:
            return Verdict("duplicate")
        store(checked)
        self.message_ids.add(message_id)
        return Verdict("stored")

    def _store_shelf_search(self, search):
        url, books, start = search["shelf_url"], search["books"], search["time_start"]
        if len(url.encode()) > SHELF_URL_MAX_BYTES:
            raise Bad("too_long")
        added = self.rows.shelves[url][0] if url in self.rows.shelves else start
        self.rows.shelves[url] = (added, start)
        for book_hash, columns in books:
            known = self.rows.books.get(book_hash, (*columns, start, start))
            self.rows.books[book_hash] = (*known[:5], start)
        self.rows.shelf_searches[
            (
                url,
                search["num_books"],
                start,
                search["time_end"],
                search["total_books"],
                tuple(book_hash for book_hash, _ in books),
                search["search_type"],
            )
        ] += 1

    def _store_library_search(self, search):
        if search["library_id"] not in self.rows.libraries:
            raise Bad("library")
        book_hash, columns = search["book"]
        self.rows.books.setdefault(book_hash, (*columns, None, None))
        self.rows.library_searches[
            (
                search["library_id"],
                search["is_libby"],
                search["time_start"],
                search["time_end"],
                book_hash,
                search["available"],
                search["availability_message"],
            )
        ] += 1


# The form of a record


def open_envelope(value):
    """Record value -> (message id, event). Without an envelope the value is the event."""
    if value is None:
        raise Bad("not_json")
    outer = parse_object(value)
    if "Message" not in outer:
        if "msg_type" not in outer:
            raise Bad("envelope")
        return hashlib.sha256(value).hexdigest(), outer
    if "Type" in outer and outer["Type"] != "Notification":
        raise Bad("envelope")
    message = outer["Message"]
    if not isinstance(message, str):
        raise Bad("envelope")
    event = parse_object(message.encode())
    message_id = outer.get("MessageId")
    if message_id is None:
        message_id = hashlib.sha256(message.encode()).hexdigest()
    if not isinstance(message_id, str) or not message_id:
        raise Bad("envelope")
    return message_id, event


def parse_object(data):
    try:
        text = data.decode("utf-8")
        parsed = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise Bad("not_json") from None
    if "\\u" in text:  # no other way to write what _check_characters refuses
        _check_characters(parsed)
    if not isinstance(parsed, dict):
        raise Bad("not_object")
    return parsed


def _refuse_constant(name):
    raise ValueError(name)  # NaN and Infinity: Python reads them, JSON does not have them


def _check_characters(parsed):
    if isinstance(parsed, str):
        if "\0" in parsed or re.search("[\ud800-\udfff]", parsed):
            raise Bad("text")
    elif isinstance(parsed, list):
        for item in parsed:
            _check_characters(item)
    elif isinstance(parsed, dict):
        for name, item in parsed.items():
            _check_characters(name)
            _check_characters(item)


def check_shelf_search(event):
    names = (
        "shelf_url",
        "books",
        "num_books",
        "time_start",
        "time_end",
        "total_books",
        "search_type",
    )
    _require(event, names)
    if not isinstance(event["books"], list):
        raise Bad("type")
    return {
        "shelf_url": _text(event["shelf_url"], null=False),
        "books": [check_book(book) for book in event["books"]],
        "num_books": _int32(event["num_books"]),
        "time_start": check_time(event["time_start"]),
        "time_end": check_time(event["time_end"]),
        "total_books": _int32(event["total_books"]),
        "search_type": _text(event["search_type"]),
    }


def check_library_search(event):
    names = (
        "library_id",
        "is_libby",
        "time_start",
        "time_end",
        "book",
        "available",
        "availability_message",
    )
    _require(event, names)
    return {
        "library_id": _text(event["library_id"], null=False),
        "is_libby": _boolean(event["is_libby"]),
        "time_start": check_time(event["time_start"]),
        "time_end": check_time(event["time_end"]),
        "book": check_book(event["book"]),
        "available": _boolean(event["available"]),
        "availability_message": _text(event["availability_message"]),
    }


def check_book(book):
    """Book -> (hash, (gr_id, title, author, isbn))."""
    if not isinstance(book, dict):
        raise Bad("type")
    _require(book, BOOK_MEMBERS)
    title, author, isbn, goodreads_id = (_text(book[name]) for name in BOOK_MEMBERS)
    gr_id = None
    if goodreads_id is not None:
        if not re.fullmatch("-?[0-9]+", goodreads_id):
            raise Bad("goodreads_id")
        sign, digits = ("-", goodreads_id[1:]) if goodreads_id[0] == "-" else ("", goodreads_id)
        significant = digits.lstrip("0") or "0"
        if len(significant) > 19 or not -(2**63) <= int(sign + significant) < 2**63:
            raise Bad("goodreads_id")
        gr_id = int(sign + significant)
    return book_hash(title, author, goodreads_id, isbn), (gr_id, title, author, isbn)


def book_hash(title, author, goodreads_id, isbn):
    """Null counts as the letters None, the hyphen separates nothing: old rows depend on both."""
    return hashlib.sha256(f"{title}-{author}-{goodreads_id}-{isbn}".encode()).hexdigest()


_TIME = re.compile(
    "([0-9]{4})-([0-9]{2})-([0-9]{2})"
    "(?:[T ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:[.]([0-9]+))?(?:Z|[+-]([0-9]{2})(?::?([0-9]{2}))?)?)?"
)


def check_time(value):
    """Time -> text as PostgreSQL prints it. An offset is dropped, the clock value kept."""
    if _text(value) is None:
        return None
    match = _TIME.fullmatch(value)
    if not match:
        raise Bad("time")
    *clock, fraction, offset_hours, offset_minutes = match.groups()
    if int(offset_hours or 0) > 15 or int(offset_minutes or 0) > 59:  # PostgreSQL's own limit
        raise Bad("time")
    try:
        time = datetime(*(int(part or 0) for part in clock))
    except ValueError:
        raise Bad("time") from None
    # As PostgreSQL rounds: half to even, but of the double: .1234565 goes down, .4123455 up.
    microseconds = round(float(f"0.{fraction or 0}") * 1e6)
    try:
        time += timedelta(microseconds=microseconds)
    except OverflowError:
        return "10000-01-01 00:00:00"
    text = time.isoformat(" ")
    return text.rstrip("0") if time.microsecond else text


def _require(members, names):
    if any(name not in members for name in names):
        raise Bad("missing")


def _text(value, null=True):
    if not (isinstance(value, str) or (value is None and null)):
        raise Bad("type")
    return value


def _boolean(value):
    if not (value is None or isinstance(value, bool)):
        raise Bad("type")
    return value


def _int32(value):
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise Bad("type")
    if not -(2**31) <= value < 2**31:
        raise Bad("range")
    return value


# The same normal form from the database


def read_database(dsn):
    """Rows from PostgreSQL, read in one snapshot."""
    rows = Rows()
    with psycopg.connect(
        dsn, options="-c datestyle=ISO -c default_transaction_isolation=repeatable\\ read"
    ) as db:
        rows.libraries = dict(_stream(db, "SELECT library_id, library_name FROM libraries"))
        hashes = {}
        for book_id, *columns in _stream(
            db,
            "SELECT book_id, unique_hash, gr_id, title, author, isbn, date_added::text,"
            " date_last_displayed::text FROM books",
        ):
            hashes[book_id] = columns[0]
            rows.books[columns[0]] = tuple(columns[1:])
        urls = {}
        for shelf_id, url, *dates in _stream(
            db,
            "SELECT shelf_id, shelf_url, date_added::text, date_last_searched::text FROM shelves",
        ):
            urls[shelf_id] = url
            rows.shelves[url] = tuple(dates)
        for shelf_id, num, start, complete, total, books, search_type in _stream(
            db,
            "SELECT shelf_id, num_books, time_start::text, time_complete::text, total_book_count,"
            " books_returned, search_type FROM shelf_searches",
        ):
            # An id without a book has no hash; it stands for itself and shows up in the difference.
            shown = (
                None
                if books is None
                else tuple(hashes.get(book, f"book id {book}") for book in books)
            )
            rows.shelf_searches[
                (urls.get(shelf_id), num, start, complete, total, shown, search_type)
            ] += 1
        for library, is_libby, start, complete, book, available, message in _stream(
            db,
            "SELECT library_id, is_libby, time_start::text, time_complete::text, book_id, available,"
            " availability_message FROM library_searches",
        ):
            rows.library_searches[
                (library, is_libby, start, complete, hashes.get(book), available, message)
            ] += 1
    return rows


def _stream(db, query):
    with db.cursor(name="rows") as cursor:
        cursor.itersize = 20000
        yield from cursor.execute(query)


def diff(expected, actual, limit=5):
    """Lines that tell the first differences per table; none if both hold the same rows."""
    lines = []
    for table in ("libraries", "books", "shelves", "shelf_searches", "library_searches"):
        want, have = getattr(expected, table), getattr(actual, table)
        if want == have:
            continue
        keys = [key for key in want if want[key] != have.get(key, 0)]
        keys += [key for key in have if key not in want]
        lines.append(f"{table}: {len(keys)} differences")
        lines += [
            f"  {key!r}: expected {want.get(key)!r}, is {have.get(key)!r}" for key in keys[:limit]
        ]
    return lines
