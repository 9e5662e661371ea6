"""shelf-help-writer from topic to tables: the worked example, every edge case of the description, a
hostile mix of events against an independent model, and a database that is away or refuses."""

import json
import re
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from support.harness import wait_for
from support.proxy import Proxy
from support.shelf_help_events import HOSTILE, Mix, generate
from support.shelf_help_faults import FAULTS, MEMBER_FAULTS
from support.shelf_help_model import Model, diff, read_database

pytestmark = pytest.mark.timeout(120)

SAMPLES = Path(__file__).parents[2] / "proto" / "shelf-help" / "samples" / "good"
EVENTS, LETTERS, WRITER = "shelf-help.events", "shelf-help-writer.dlq", "shelf-help-writer"
KEY = b"default-group"

ORCHARD = {
    "title": "The Cartographer's Orchard",
    "author": "Ilse Varnholt",
    "isbn": "9780000012345",
    "goodreads_id": "770001234",
}
RAIN = {"title": "Brass Rain", "author": "Teodor Quill", "isbn": "", "goodreads_id": "770001235"}


def shelf_search(**changes):
    event = {
        "msg_type": "SHELFSEARCH",
        "shelf_url": "https://shelves.example.invalid/to-read",
        "books": [ORCHARD],
        "num_books": 1,
        "time_start": "2024-11-05T18:02:11.25",
        "time_end": "2024-11-05T18:02:14.731902",
        "total_books": 128,
        "search_type": "Shuffle",
    }
    return {**event, **changes}


def library_search(**changes):
    event = {
        "msg_type": "LIBRARYSEARCH",
        "library_id": "sno-isle",
        "is_libby": True,
        "time_start": "2024-11-05T18:03:00",
        "time_end": "2024-11-05T18:03:00.412345",
        "book": RAIN,
        "available": False,
        "availability_message": "UNAVAILABLE: Check to see hold",
    }
    return {**event, **changes}


def envelope(event, message_id):
    message = json.dumps(event, ensure_ascii=False)
    return json.dumps({"Type": "Notification", "MessageId": message_id, "Message": message}).encode()


def feed(bus, *values):
    """Events, each in an envelope with an id of its own, or values as they are; waits for the writer."""
    start = bus.count(EVENTS)
    bus.produce(
        EVENTS,
        [
            (KEY, envelope(value, f"id-{start + n}") if isinstance(value, dict) else value)
            for n, value in enumerate(values)
        ],
    )
    bus.wait_done(WRITER, EVENTS, 20)


def rows(dsn, query):
    with psycopg.connect(dsn) as db:
        return db.execute(query).fetchall()


def count(dsn, table):
    return rows(dsn, f"SELECT count(*) FROM {table}")[0][0]


def end_sessions(db, name=None):
    """Ends the connections of all others to a database, that of db itself unless named."""
    db.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = coalesce(%s, current_database()) AND pid <> pg_backend_pid()",
        [name],
    )


# ---- the worked example ----

URL = "https://www.goodreads.com/review/list/0-example?shelf=to-read"
ORCHARD_HASH = "b111659c996c8456546cb1894768d130260f846b0ab0b8a21fbfba751b386953"
RAIN_HASH = "f7f17e12a3a69ed7361d08fc7991e4abc67235b504123149f89e6bf66bf2098b"
RAIN_TITLE = "Brass Rain (The Gilded Weather, #2)"
TIME = "2024-11-05 18:02:11.25"


def test_the_worked_example(bus, start_writer, tables):
    start_writer()
    samples = [(SAMPLES / f"{name}.json").read_bytes() for name in ("shelfsearch", "librarysearch")]
    feed(bus, *samples)
    assert rows(
        tables, "SELECT shelf_id, shelf_url, date_added::text, date_last_searched::text FROM shelves"
    ) == [(1, URL, TIME, TIME)]
    assert rows(
        tables,
        "SELECT book_id, unique_hash, gr_id, title, author, isbn, date_added::text,"
        " date_last_displayed::text FROM books ORDER BY book_id",
    ) == [
        (1, ORCHARD_HASH, 770001234, *list(ORCHARD.values())[:3], TIME, TIME),
        (2, RAIN_HASH, 770001235, RAIN_TITLE, "Teodor Quill", "", TIME, TIME),
    ]
    assert rows(
        tables,
        "SELECT shelf_search_id, shelf_id, num_books, time_start::text, time_complete::text,"
        " total_book_count, books_returned, search_type FROM shelf_searches",
    ) == [(1, 1, 2, TIME, "2024-11-05 18:02:14.731902", 128, [1, 2], "Shuffle")]
    assert rows(
        tables,
        "SELECT library_search_id, library_id, is_libby, time_start::text, time_complete::text,"
        " book_id, available, availability_message FROM library_searches",
    ) == [
        (
            1,
            "sno-isle",
            True,
            "2024-11-05 18:03:00",
            "2024-11-05 18:03:00.412345",
            2,
            False,
            "UNAVAILABLE: Check to see hold",
        )
    ]
    feed(bus, *samples)  # delivered again: nothing changes
    assert [count(tables, table) for table in ("shelf_searches", "library_searches")] == [1, 1]


# ---- what becomes of each case (description, 6.1) ----


def test_a_message_id_is_stored_once(bus, start_writer, tables):
    writer = start_writer()
    first, later = shelf_search(), shelf_search(time_start="2024-12-24T00:00:00")
    feed(bus, envelope(first, "a"))
    feed(bus, envelope(first, "a"), envelope(later, "a"), envelope(later, "b"), envelope(later, "b"))
    assert count(tables, "shelf_searches") == 2
    assert writer.metric("weir_records_finished_total", "duplicate") == 3
    # nor does a redelivery move a date
    feed(bus, envelope(first, "a"))
    dates = "SELECT date_added::text, date_last_searched::text FROM shelves"
    assert rows(tables, dates) == [(TIME, "2024-12-24 00:00:00")]


def test_a_message_id_is_stored_once_though_the_writer_began_anew(bus, start_writer, tables):
    writer = start_writer()
    feed(bus, envelope(shelf_search(), "a"))
    writer.stop()
    writer.start()
    feed(bus, envelope(shelf_search(), "a"))
    assert count(tables, "shelf_searches") == 1


def test_equal_texts_under_different_ids_are_two(bus, start_writer, tables):
    start_writer()
    feed(bus, envelope(library_search(), "a"), envelope(library_search(), "b"))
    assert (count(tables, "library_searches"), count(tables, "books")) == (2, 1)


def test_unknown_types_are_counted_and_logged(bus, start_writer, tables):
    writer = start_writer()
    unknown = [shelf_search(msg_type=kind) for kind in ("PING", "shelfsearch", "", None, 5, {})]
    feed(bus, *unknown, library_search())
    assert writer.metric("shelf_help_unknown_events_total") == 6
    assert [line["offset"] for line in writer.log("unknown msg_type, not stored")] == [*range(6)]
    assert (count(tables, "shelves"), count(tables, "library_searches")) == (0, 1)
    assert bus.count(LETTERS) == 0


def test_dates_follow_the_order_of_processing(bus, start_writer, tables):
    start_writer()
    times = ("2024-11-05T12:00:00", "2024-11-06T12:00:00", "2024-11-04T12:00:00")
    feed(bus, *[shelf_search(time_start=time) for time in times])
    expected = [("2024-11-05 12:00:00", "2024-11-04 12:00:00")]
    assert rows(tables, "SELECT date_added::text, date_last_searched::text FROM shelves") == expected
    assert rows(tables, "SELECT date_added::text, date_last_displayed::text FROM books") == expected


@pytest.mark.parametrize("together", [True, False])
def test_a_book_first_seen_by_a_library_search_has_no_date_added(
    bus, start_writer, tables, together
):
    start_writer()
    events = [library_search(book=ORCHARD), shelf_search(), library_search(book=ORCHARD)]
    if together:
        feed(bus, *events)
    else:
        for event in events:
            feed(bus, event)
    dates = "SELECT date_added::text, date_last_displayed::text FROM books"
    assert rows(tables, dates) == [(None, TIME)]


def test_a_bad_event_leaves_nothing_and_the_next_goes_on(bus, start_writer, tables):
    start_writer()
    feed(bus, library_search(library_id="no-such-library"), shelf_search())
    assert rows(tables, "SELECT title FROM books") == [(ORCHARD["title"],)]
    [letter] = bus.read(LETTERS)
    assert letter.header("weir_reason") == "/Message/library_id: no such library"


# ---- every fault is a dead letter whose reason names the member (description, 6.2) ----


def place_of(name):
    """What a reason must say of a fault."""
    if name not in MEMBER_FAULTS:
        return r""
    fault = MEMBER_FAULTS[name]
    if fault.reason == "text":
        return r"^/Message: not JSON: (U\+0000|a lone surrogate)"
    if fault.reason == "too_long":
        return r"^shelf_url: "
    member = fault.member.removeprefix("book.")
    if member != fault.member:
        return rf"^/Message/book(s/\d+)?/{member}: "
    return rf"^/Message/{member}[/:]"


def test_every_fault_is_a_dead_letter(bus, start_writer, tables):
    writer = start_writer()
    records = list(generate(len(FAULTS), seed=3, mix=Mix(bad=1.0, hostile=0.0)))
    assert {meta.detail for _, _, meta in records} == set(FAULTS)
    headers = [("ce_id", b"x"), ("twice", b"1"), ("twice", b""), ("none", None), ("raw", b"\xff")]
    bus.produce(EVENTS, [(key, value, headers) for key, value, _ in records])
    bus.wait_done(WRITER, EVENTS, 30)
    letters = {int(letter.header("weir_offset")): letter for letter in bus.read(LETTERS)}
    assert len(letters) == bus.count(LETTERS) == len(records)
    for offset, (key, value, meta) in enumerate(records):
        letter = letters[offset]
        assert (letter.key, letter.value) == (key, value), meta.detail
        assert letter.headers[: len(headers)] == headers, meta.detail
        assert letter.header("weir_fault") == "bad_input", meta.detail
        assert re.search(place_of(meta.detail), letter.header("weir_reason")), meta.detail
    assert count(tables, "books") == count(tables, "shelves") == 0
    assert writer.metric("weir_records_finished_total", "dead") == len(FAULTS)


# name: (event, query, its one row)
ACCEPTED = {
    "empty isbn": (library_search(), "SELECT isbn FROM books", ("",)),
    "no books": (
        shelf_search(books=[], num_books=0),
        "SELECT books_returned, num_books FROM shelf_searches",
        ([], 0),
    ),
    "a book twice": (
        shelf_search(books=[ORCHARD, RAIN, ORCHARD]),
        "SELECT books_returned[1] = books_returned[3], cardinality(books_returned) FROM shelf_searches",
        (True, 3),
    ),
    "num_books is not the length": (
        shelf_search(num_books=7),
        "SELECT num_books FROM shelf_searches",
        (7,),
    ),
    "nulls of a shelf search": (
        shelf_search(
            num_books=None, time_start=None, time_end=None, total_books=None, search_type=None
        ),
        "SELECT num_books, time_start, time_complete, total_book_count, search_type FROM shelf_searches",
        (None, None, None, None, None),
    ),
    "nulls of a library search": (
        library_search(
            is_libby=None, time_start=None, time_end=None, available=None, availability_message=None
        ),
        "SELECT is_libby, time_start, time_complete, available, availability_message"
        " FROM library_searches",
        (None, None, None, None, None),
    ),
    "nulls of a book": (
        library_search(book=dict.fromkeys(ORCHARD)),
        "SELECT gr_id, title, author, isbn, unique_hash = encode(sha256('None-None-None-None'), 'hex')"
        " FROM books",
        (None, None, None, None, True),
    ),
    "leading zeros": (
        library_search(book={**RAIN, "goodreads_id": "0042"}),
        "SELECT gr_id, unique_hash = encode(sha256('Brass Rain-Teodor Quill-0042-'), 'hex') FROM books",
        (42, True),
    ),
    "minus": (
        library_search(book={**RAIN, "goodreads_id": "-9223372036854775808"}),
        "SELECT gr_id FROM books",
        (-(2**63),),
    ),
    "integers at their bounds": (
        shelf_search(num_books=-(2**31), total_books=2**31 - 1),
        "SELECT num_books, total_book_count FROM shelf_searches",
        (-(2**31), 2**31 - 1),
    ),
    "other members": (
        library_search(extra={"a": [1]}, book={**RAIN, "link": 5, "avg_rating": "x"}),
        "SELECT title FROM books",
        ("Brass Rain",),
    ),
    "long texts": (
        library_search(book={**RAIN, "title": "t" * 100_000}, availability_message="m " * 50_000),
        "SELECT length(title), length(availability_message) FROM books, library_searches",
        (100_000, 100_000),
    ),
    "a blank at the end": (
        library_search(availability_message="CHECKED OUT: "),
        "SELECT availability_message FROM library_searches",
        ("CHECKED OUT: ",),
    ),
    "the hyphen separates nothing": (
        shelf_search(
            books=[
                {"title": "Fen-Road", "author": "Marsh", "isbn": "", "goodreads_id": "7"},
                {"title": "Fen", "author": "Road-Marsh", "isbn": "", "goodreads_id": "7"},
            ]
        ),
        "SELECT title, author FROM books",
        ("Fen-Road", "Marsh"),
    ),
    "times": (
        shelf_search(time_start="2024-11-05T14:46:54Z", time_end="2024-11-05T09:46:58+05:30"),
        "SELECT time_start::text, time_complete::text FROM shelf_searches",
        ("2024-11-05 14:46:54", "2024-11-05 09:46:58"),
    ),
    "more times": (
        shelf_search(time_start="2024-11-05", time_end="2024-11-05 23:59:59.9999996"),
        "SELECT time_start::text, time_complete::text FROM shelf_searches",
        ("2024-11-05 00:00:00", "2024-11-06 00:00:00"),
    ),
    "end before start": (
        shelf_search(time_start="2024-11-05T18:00:01", time_end="2024-11-05T18:00:00"),
        "SELECT time_complete < time_start FROM shelf_searches",
        (True,),
    ),
}


def test_what_is_stored(bus, start_writer, tables):
    start_writer(WEIR_BACKOFF_MIN_MS="5")
    with psycopg.connect(tables, autocommit=True) as db:
        for name, (event, query, expected) in ACCEPTED.items():
            db.execute("TRUNCATE shelf_searches, library_searches, books, shelves CASCADE")
            end_sessions(db)  # the writer remembers ids as long as its connection lasts
            feed(bus, event)
            assert db.execute(query).fetchall() == [expected], name


# ---- against the model ----


def test_a_hostile_mix_gives_the_rows_of_the_model(bus, start_writer, tables):
    writer = start_writer()
    records = list(generate(10_000, seed=11, mix=HOSTILE))
    bus.produce(EVENTS, [(key, value) for key, value, _ in records])
    model = Model().feed_all(value for _, value, _ in records)
    bus.wait_done(WRITER, EVENTS, 60)
    assert diff(model.rows, read_database(tables)) == []
    letters = sorted(int(letter.header("weir_offset")) for letter in bus.read(LETTERS))
    assert letters == [index for index, _ in model.dead]
    assert writer.metric("weir_records_finished_total", "duplicate") == len(model.duplicates)
    assert writer.metric("shelf_help_unknown_events_total") == len(model.unknown)
    writer.stop()
    text = writer.log_text()
    for leak in ("goodreads.com", "Varnholt", "Quill", "example.invalid", "DROP TABLE", tables):
        assert leak not in text


# ---- a database that is away or refuses ----


def test_a_database_away_at_the_start_is_waited_for(bus, start_writer, tables):
    at = conninfo_to_dict(tables)
    with Proxy(at["host"], int(at["port"])) as proxy:
        proxy.refuse()
        url = make_conninfo(tables, port=proxy.port)
        writer = start_writer(SHELF_HELP_DATABASE_URL=url, WEIR_BACKOFF_MAX_MS="300")
        line = writer.wait_log("waiting for a dependency to start")
        assert line["level"] == "error"
        assert line["reason"].startswith("SHELF_HELP_DATABASE_URL: pg: can't connect")
        bus.produce(EVENTS, [(KEY, envelope(library_search(), "a"))])
        assert writer.get("/readyz")[0] == 503
        assert writer.get("/healthz")[0] == 200
        proxy.forward()
        writer.wait_ready(5)
        bus.wait_done(WRITER, EVENTS, 10)
        assert len(writer.log("waiting for a dependency to start")) == 1
    assert count(tables, "library_searches") == 1


def test_a_broker_away_at_the_start_is_waited_for(bus, brokers, start_writer, tables):
    host, _, port = brokers.split(",")[0].rpartition(":")
    with Proxy(host, int(port)) as proxy:
        proxy.refuse()
        writer = start_writer(WEIR_BROKERS=f"127.0.0.1:{proxy.port}")
        line = writer.wait_log("kafka: unreachable, waiting")
        assert line["level"] == "error"
        wait_for(lambda: "brokers" in writer.get("/readyz")[1], 5, "started otherwise")
        assert writer.get("/readyz") == (503, "the brokers can't be reached\n")
        assert writer.get("/healthz")[0] == 200
        proxy.forward()
        bus.produce(EVENTS, [(KEY, envelope(library_search(), "a"))])
        writer.wait_ready(15)
        bus.wait_done(WRITER, EVENTS, 10)
        assert len(writer.log("kafka: unreachable, waiting")) == 1
    assert count(tables, "library_searches") == 1


OUTAGES = {
    "a table is missing": ("ALTER TABLE libraries RENAME TO gone", "ALTER TABLE gone RENAME TO libraries"),
    "a column is missing": ("ALTER TABLE books RENAME isbn TO gone", "ALTER TABLE books RENAME gone TO isbn"),
    "read-only": ("ALTER DATABASE {} SET default_transaction_read_only = on", "ALTER DATABASE {} RESET ALL"),
    "logins refused": ("ALTER DATABASE {} ALLOW_CONNECTIONS false", "ALTER DATABASE {} ALLOW_CONNECTIONS true"),
}  # fmt: skip


@pytest.mark.parametrize("outage", OUTAGES)
def test_a_database_that_refuses_is_waited_for(bus, start_writer, tables, postgres_admin_url, outage):
    writer = start_writer(WEIR_BACKOFF_MIN_MS="20", WEIR_BACKOFF_MAX_MS="100").wait_ready()
    feed(bus, library_search())
    name = conninfo_to_dict(tables)["dbname"]
    away, back = (step.format(name) for step in OUTAGES[outage])
    superuser = make_conninfo(
        postgres_admin_url, dbname="postgres" if "DATABASE" in away else name
    )
    with psycopg.connect(superuser, autocommit=True) as db:
        db.execute(away)
        end_sessions(db, name)
        bus.produce(
            EVENTS,
            [
                (KEY, envelope(library_search(book={**RAIN, "title": f"t{n}"}, library_id="mdpls"), f"x{n}"))
                for n in range(100)
            ],
        )
        wait_for(lambda: writer.get("/readyz")[0] == 503, 10, "not ready")
        assert writer.log("paused: a dependency is away")[0]["level"] == "error"
        wait_for(lambda: writer.metric("weir_failures_total", "try_later") > 5, 10, "probes")
        db.execute(back)
        bus.wait_done(WRITER, EVENTS, 10)
    wait_for(writer.is_ready, 5, "ready again")
    assert count(tables, "library_searches") == 101
    assert bus.count(LETTERS) == 0


def test_a_statement_that_hangs_is_ended_and_tried_again(bus, start_writer, tables):
    writer = start_writer(SHELF_HELP_DATABASE_TIMEOUT_MS="200", WEIR_BACKOFF_MAX_MS="100")
    writer.wait_ready()
    with psycopg.connect(tables) as db:
        db.execute("LOCK TABLE library_searches IN SHARE MODE")
        bus.produce(EVENTS, [(KEY, envelope(library_search(), "a"))])
        wait_for(lambda: writer.metric("weir_failures_total", "try_later") > 1, 10, "time-outs")
    bus.wait_done(WRITER, EVENTS, 10)
    assert count(tables, "library_searches") == 1
    assert bus.count(LETTERS) == 0


def test_the_offsets_of_the_database_count_not_the_groups(bus, start_writer, tables):
    """They are of one transaction with the rows; the group's are for those who look at the lag."""
    writer = start_writer()
    feed(bus, *[library_search() for _ in range(10)])
    writer.stop()
    bus.commit(WRITER, EVENTS, {0: 2})
    writer.start()
    assert writer.wait_log("assigned")["from"] == 10
    bus.wait_done(WRITER, EVENTS, 10)  # the group is told again
    assert writer.ledger()[0] == 0
    assert count(tables, "library_searches") == 10
