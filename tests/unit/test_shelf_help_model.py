"""The model against the description's worked results, and the generator against the model."""

import json
from collections import Counter
from datetime import datetime
from itertools import islice

import pytest

from support import shelf_help_events as events
from support.shelf_help_faults import FAULTS
from support.shelf_help_model import (
    Bad,
    Model,
    Rows,
    book_hash,
    check_book,
    check_time,
    diff,
)

SHELF_URL = "https://www.goodreads.com/review/list/0-example?shelf=to-read"
ORCHARD = "b111659c996c8456546cb1894768d130260f846b0ab0b8a21fbfba751b386953"
RAIN = "f7f17e12a3a69ed7361d08fc7991e4abc67235b504123149f89e6bf66bf2098b"

ORCHARD_BOOK = {
    "title": "The Cartographer's Orchard",
    "author": "Ilse Varnholt",
    "isbn": "9780000012345",
    "goodreads_id": "770001234",
}
RAIN_BOOK = {
    "title": "Brass Rain (The Gilded Weather, #2)",
    "author": "Teodor Quill",
    "isbn": "",
    "goodreads_id": "770001235",
}
SHELF_EVENT = {
    "msg_type": "SHELFSEARCH",
    "shelf_url": SHELF_URL,
    "books": [ORCHARD_BOOK, RAIN_BOOK],
    "num_books": 2,
    "time_start": "2024-11-05T18:02:11.250000",
    "time_end": "2024-11-05T18:02:14.731902",
    "total_books": 128,
    "search_type": "Shuffle",
}
LIBRARY_EVENT = {
    "msg_type": "LIBRARYSEARCH",
    "library_id": "sno-isle",
    "is_libby": True,
    "time_start": "2024-11-05T18:03:00",
    "time_end": "2024-11-05T18:03:00.412345",
    "book": RAIN_BOOK,
    "available": False,
    "availability_message": "UNAVAILABLE: Check to see hold",
}


def envelope(event, message_id="1f0c6a52-3b1e-5d0a-9a77-0c2f4be1a001", **members):
    message = event if isinstance(event, str) else json.dumps(event)
    return json.dumps(
        {"Type": "Notification", "MessageId": message_id, "Message": message} | members
    ).encode()


@pytest.mark.parametrize(
    "title, author, goodreads_id, isbn, want",
    [
        ("The Cartographer's Orchard", "Ilse Varnholt", "770001234", "9780000012345", ORCHARD),
        ("Brass Rain (The Gilded Weather, #2)", "Teodor Quill", "770001235", "", RAIN),
        (
            "Nächte über Ørsund",
            "Þóra Blæng",
            "770001236",
            "",
            "e2d1455b4f7a14abb31066b280c4cb666dac77deb3c3d659f9f980627e10d556",
        ),
    ],
)
def test_book_hash(title, author, goodreads_id, isbn, want):
    assert book_hash(title, author, goodreads_id, isbn) == want


def test_null_counts_as_none_in_the_hash():
    assert book_hash(None, "a", None, None) == book_hash("None", "a", "None", "None")
    assert check_book({"title": "t", "author": None, "isbn": "", "goodreads_id": None})[1] == (
        None,
        "t",
        None,
        "",
    )


def test_worked_result():
    model = Model().feed_all([envelope(SHELF_EVENT, "a"), envelope(LIBRARY_EVENT, "b")])
    start = "2024-11-05 18:02:11.25"
    orchard = (
        770001234,
        "The Cartographer's Orchard",
        "Ilse Varnholt",
        "9780000012345",
        start,
        start,
    )
    rain = (770001235, "Brass Rain (The Gilded Weather, #2)", "Teodor Quill", "", start, start)
    want = Rows(
        libraries=model.rows.libraries,
        books={ORCHARD: orchard, RAIN: rain},
        shelves={SHELF_URL: (start, start)},
        shelf_searches=Counter(
            [(SHELF_URL, 2, start, "2024-11-05 18:02:14.731902", 128, (ORCHARD, RAIN), "Shuffle")]
        ),
        library_searches=Counter(
            [
                (
                    "sno-isle",
                    True,
                    "2024-11-05 18:03:00",
                    "2024-11-05 18:03:00.412345",
                    RAIN,
                    False,
                    "UNAVAILABLE: Check to see hold",
                )
            ]
        ),
    )
    assert diff(want, model.rows) == []
    assert len(model.rows.libraries) == 1383


def test_worked_result_in_the_other_order():
    model = Model().feed_all([envelope(LIBRARY_EVENT, "b")])
    assert model.rows.books[RAIN][4:] == (None, None)
    model.feed(envelope(SHELF_EVENT, "a"))
    assert model.rows.books[RAIN][4:] == (None, "2024-11-05 18:02:11.25")


def test_the_last_processed_event_sets_the_date():
    model = Model().feed_all(
        [envelope(SHELF_EVENT, "a"), envelope(SHELF_EVENT | {"time_start": "2020-01-01"}, "b")]
    )
    assert model.rows.shelves[SHELF_URL] == ("2024-11-05 18:02:11.25", "2020-01-01 00:00:00")
    assert model.rows.books[RAIN][4:] == ("2024-11-05 18:02:11.25", "2020-01-01 00:00:00")


def test_a_message_id_is_stored_once_whatever_its_text():
    model = Model()
    later = SHELF_EVENT | {"time_start": "2025-01-01T00:00:00"}
    kinds = [model.feed(envelope(event, "a")).kind for event in (SHELF_EVENT, SHELF_EVENT, later)]
    assert kinds == ["stored", "duplicate", "duplicate"]
    assert model.rows.shelves[SHELF_URL] == ("2024-11-05 18:02:11.25", "2024-11-05 18:02:11.25")
    assert model.feed(envelope(SHELF_EVENT, "b")).kind == "stored"


def test_a_bad_event_does_not_use_up_its_id():
    model = Model()
    for broken in (LIBRARY_EVENT | {"library_id": "Sno-Isle"}, LIBRARY_EVENT | {"is_libby": 1}):
        assert model.feed(envelope(broken, "a")).kind == "dead"
    assert model.rows.books == {}
    assert model.feed(envelope(LIBRARY_EVENT, "a")).kind == "stored"


def test_ids_of_records_without_one():
    model = Model()
    bare = json.dumps(LIBRARY_EVENT).encode()
    no_id = json.dumps({"Message": bare.decode()}).encode()
    # The same text, bare and in an envelope without id, has the same id.
    assert [model.feed(value).kind for value in (bare, no_id, bare + b" ")] == [
        "stored",
        "duplicate",
        "stored",
    ]


@pytest.mark.parametrize("msg_type", ["PING", "shelfsearch", "", None])
def test_unknown_types_are_no_faults(msg_type):
    assert Model().feed(envelope({"msg_type": msg_type})).kind == "unknown"


@pytest.mark.parametrize(
    "text, want",
    [
        ("2024-11-05T18:03:00.412345", "2024-11-05 18:03:00.412345"),
        ("2024-11-05 18:03:00", "2024-11-05 18:03:00"),
        ("2024-11-05", "2024-11-05 00:00:00"),
        ("2024-11-05T14:46:54Z", "2024-11-05 14:46:54"),
        ("2024-11-05T09:46:58+05:30", "2024-11-05 09:46:58"),
        ("2024-11-05T09:46:58.5-0800", "2024-11-05 09:46:58.5"),
        ("2024-11-05T18:03:59.9999996", "2024-11-05 18:04:00"),
        ("2024-11-05T18:03:00.0000005", "2024-11-05 18:03:00"),
        ("2024-11-05T18:03:00.0000015", "2024-11-05 18:03:00.000002"),
        ("2024-11-05T18:03:00.4123455", "2024-11-05 18:03:00.412346"),
        ("2024-11-05T18:03:00.1234565", "2024-11-05 18:03:00.123456"),
        ("9999-12-31T23:59:59.9999999", "10000-01-01 00:00:00"),
    ],
)
def test_times(text, want):
    assert check_time(text) == want


@pytest.mark.parametrize(
    "text", ["-9223372036854775808", "9223372036854775807", "0042", "-0", "0" * 5000 + "1"]
)
def test_goodreads_ids_in_range(text):
    columns = check_book({"title": "", "author": "", "isbn": "", "goodreads_id": text})[1]
    assert columns[0] == int(text.lstrip("0") or "0")


@pytest.mark.parametrize("text", ["9223372036854775808", "9" * 5000, "", "4.2", "42\n"])
def test_goodreads_ids_out_of_range(text):
    with pytest.raises(Bad, match="goodreads_id"):
        check_book({"title": "", "author": "", "isbn": "", "goodreads_id": text})


def test_diff_names_the_table_and_both_sides():
    lines = diff(Rows(shelves={"u": (None, None)}), Rows())
    assert lines == ["shelves: 1 differences", "  'u': expected (None, None), is None"]


# The generator. Its records know what they are; the model, which does not, must agree.

VERDICTS = {
    "shelf": "stored",
    "library": "stored",
    "duplicate": "duplicate",
    "unknown": "unknown",
    "bad": "dead",
}


@pytest.mark.parametrize("mix", [events.Mix(), events.HOSTILE], ids=["plain", "hostile"])
def test_generator_and_model_agree(mix):
    model = Model()
    details = set()
    for _, value, meta in events.generate(20000, seed=3, mix=mix):
        verdict = model.feed(value)
        assert verdict == (VERDICTS[meta.kind], meta.reason), (meta, value[:500])
        details.add(meta.detail)
    if mix is events.HOSTILE:
        assert (
            set(FAULTS) | set(events._ODD_SHAPES) | {"null", "same bytes", "other text"} <= details
        )
    else:
        assert details == {None}


def test_generator_is_deterministic():
    def first(seed):
        return list(islice(events.generate(1000, seed, events.HOSTILE), 300))

    assert first(5) == first(5)
    assert first(5) != first(6)


def test_both_json_writers_give_the_same_bytes(monkeypatch):
    def records():
        return list(events.generate(2000, 5, events.HOSTILE))

    usual = records()
    monkeypatch.setattr(events, "quote", lambda text: json.dumps(text, ensure_ascii=False))
    assert records() == usual


def test_generator_obeys_its_mix():
    mix = events.Mix(shelf_share=1, books_per_search=7, book_pool=50, shelf_pool=3)
    model = Model()
    for _, value, _ in events.generate(500, mix=mix, start=datetime(2030, 1, 1)):
        model.feed(value)
    assert len(model.rows.shelves) == 3
    assert model.rows.library_searches == {}
    assert {len(search[5]) for search in model.rows.shelf_searches} == {7}
    assert len(model.rows.books) <= 50
