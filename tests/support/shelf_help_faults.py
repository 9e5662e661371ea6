"""Every way to spoil a shelf-help event so that it must become a dead letter, each under its name.

One fault a record, so that the reason is never in doubt. The reasons are those of shelf_help_model.
Left out is what a reader may take either way: integers as real numbers without fraction, offsets
beyond 16 hours, members of an envelope that nobody needs.
"""

from typing import NamedTuple

SHELF_MEMBERS = (
    "shelf_url",
    "books",
    "num_books",
    "time_start",
    "time_end",
    "total_books",
    "search_type",
)
LIBRARY_MEMBERS = (
    "library_id",
    "is_libby",
    "time_start",
    "time_end",
    "book",
    "available",
    "availability_message",
)
BOOK_MEMBERS = ("title", "author", "isbn", "goodreads_id")

# Where null is stored as NULL. A null shelf_url or library_id is a fault.
SHELF_NULLABLE = ("num_books", "time_start", "time_end", "total_books", "search_type")
LIBRARY_NULLABLE = ("is_libby", "time_start", "time_end", "available", "availability_message")

LONG_URL = "long url"  # replaced by random hex, which no index can hold


class MemberFault(NamedTuple):
    """The JSON text of one member is replaced, or the member left out."""

    event: str  # shelf, library, or either
    member: str  # "book.title": a member of one of the event's books
    text: str | None  # None: leave the member out
    reason: str


class BytesFault(NamedTuple):
    """Event text, and a function that wraps it into an envelope -> the record's bytes."""

    make: object
    reason: str


def _member_faults():
    faults = {"msg_type_missing": MemberFault("either", "msg_type", None, "missing")}

    def add(event, member, reason, **texts):
        for name, text in texts.items():
            faults[f"{event}.{member}.{name}"] = MemberFault(event, member, text, reason)

    for event, members in (("shelf", SHELF_MEMBERS), ("library", LIBRARY_MEMBERS)):
        for member in members:
            add(event, member, "missing", missing=None)
        for member in BOOK_MEMBERS:
            add(event, f"book.{member}", "missing", missing=None)
        for member in ("time_start", "time_end"):
            add(event, member, "type", number="1730829780", object="{}")
            add(event, member, "time", **_BAD_TIMES)
        for member in ("title", "author", "isbn"):
            add(event, f"book.{member}", "type", number="42", array='["a"]', true="true")
            add(
                event,
                f"book.{member}",
                "text",
                nul='"a\\u0000b"',
                surrogate='"a\\ud800b"',
                low='"\\udc00"',
            )
        add(event, "book.goodreads_id", "type", number="770001234", real="7.5", array="[]")
        add(event, "book.goodreads_id", "goodreads_id", **_BAD_GOODREADS_IDS)
    for member in ("num_books", "total_books"):
        add(
            "shelf",
            member,
            "range",
            above="2147483648",
            below="-2147483649",
            far="99999999999999999999",
        )
        add("shelf", member, "type", fraction="1.5", string='"2"', true="true", object="{}")
    add("shelf", "shelf_url", "type", null="null", number="5", array="[]")
    add("shelf", "shelf_url", "text", nul='"https://example.invalid/\\u0000"')
    add("shelf", "shelf_url", "too_long", long=LONG_URL)
    add("shelf", "search_type", "type", number="1", false="false")
    add(
        "shelf",
        "books",
        "type",
        null="null",
        object="{}",
        string='"none"',
        of_null="[null]",
        of_text='["x"]',
    )
    add("library", "book", "type", null="null", array="[]", string='"none"')
    add("library", "library_id", "type", null="null", number="5")
    add(
        "library",
        "library_id",
        "library",
        unknown='"no-such-library"',
        upper='"SNO-ISLE"',
        blank='"sno-isle "',
        empty='""',
        quote='"\'; DROP TABLE libraries; --"',
    )
    for member in ("is_libby", "available"):
        add("library", member, "type", string='"true"', one="1", zero="0", empty='""')
    add("library", "availability_message", "type", number="3", array='["AVAILABLE"]')
    add("library", "availability_message", "text", surrogate='"\\udfff\\ud800"')
    return faults


_BAD_TIMES = {
    "empty": '""',
    "month_13": '"2024-13-05T18:03:00"',
    "month_0": '"2024-00-05T18:03:00"',
    "february_30": '"2024-02-30T18:03:00"',
    "no_leap_year": '"2023-02-29"',
    "year_0": '"0000-01-01T00:00:00"',
    "hour_24": '"2024-11-05T24:00:00"',
    "minute_60": '"2024-11-05T18:60:00"',
    "second_60": '"2024-11-05T18:03:60"',
    "no_seconds": '"2024-11-05T18:03"',
    "one_digit_day": '"2024-11-5T18:03:00"',
    "basic_format": '"20241105T180300"',
    "us_format": '"11/05/2024 18:03:00"',
    "now": '"now"',
    "infinity": '"infinity"',
    "epoch": '"epoch"',
    "epoch_seconds": '"1725270414"',
    "zone_name": '"2024-11-05T18:03:00 Europe/Berlin"',
    "before_christ": '"2024-11-05T18:03:00 BC"',
    "blank_before": '" 2024-11-05T18:03:00"',
    "line_feed_after": '"2024-11-05T18:03:00\\n"',
    "other_digits": '"２０２４-11-05T18:03:00"',
}

_BAD_GOODREADS_IDS = {
    "empty": '""',
    "words": '"brass-rain"',
    "fraction": '"770001234.5"',
    "exponent": '"7e8"',
    "hex": '"0x2a"',
    "plus": '"+42"',
    "blank": '" 42"',
    "line_feed": '"42\\n"',
    "minus_only": '"-"',
    "two_minus": '"--42"',
    "none": '"None"',
    "other_digits": '"４２"',
    "above_int64": '"9223372036854775808"',
    "below_int64": '"-9223372036854775809"',
    "far": '"99999999999999999999999999"',
    "sql": '"1); DROP TABLE books; --"',
}


def _outer(change):
    return lambda event, wrap: change(wrap(event))


def _inner(change):
    return lambda event, wrap: wrap(change(event))


def _replace(old, new):
    return lambda value: value.replace(old, new, 1)


_BYTES_FAULTS = {
    "value_empty": (lambda event, wrap: b"", "not_json"),
    "value_text": (lambda event, wrap: b"hello", "not_json"),
    "value_array": (lambda event, wrap: b"[" + wrap(event) + b"]", "not_object"),
    "value_null": (lambda event, wrap: b"null", "not_object"),
    "value_string": (lambda event, wrap: b'"text"', "not_object"),
    "value_object_empty": (lambda event, wrap: b"{}", "envelope"),
    "envelope_cut": (_outer(lambda value: value[: len(value) // 2]), "not_json"),
    "envelope_twice": (_outer(lambda value: value + value), "not_json"),
    "envelope_single_quotes": (_outer(_replace(b'"Type"', b"'Type'")), "not_json"),
    "envelope_nan": (
        _outer(_replace(b'"Notification"', b'"Notification", "Extra" : NaN')),
        "not_json",
    ),
    "envelope_invalid_utf8": (_outer(_replace(b'"Type"', b'"X" : "\xff\xfe", "Type"')), "not_json"),
    "envelope_overlong_utf8": (
        _outer(_replace(b'"Type"', b'"X" : "\xc0\xaf", "Type"')),
        "not_json",
    ),
    "envelope_utf8_surrogate": (
        _outer(_replace(b'"Type"', b'"X" : "\xed\xa0\x80", "Type"')),
        "not_json",
    ),
    "envelope_utf16": (_outer(lambda value: value.decode().encode("utf-16")), "not_json"),
    "envelope_nul": (_outer(_replace(b'"Message"', b'"X" : "\\u0000", "Message"')), "text"),
    "envelope_surrogate": (_outer(_replace(b'"Message"', b'"X" : "\\ud800", "Message"')), "text"),
    "message_missing": (_outer(_replace(b'"Message"', b'"message"')), "envelope"),
    "message_null": (_outer(_replace(b'"Message"', b'"Message" : null, "X"')), "envelope"),
    "message_object": (_outer(_replace(b'"Message"', b'"Message" : {}, "X"')), "envelope"),
    "type_subscription": (
        _outer(_replace(b'"Notification"', b'"SubscriptionConfirmation"')),
        "envelope",
    ),
    "type_lower_case": (_outer(_replace(b'"Notification"', b'"notification"')), "envelope"),
    "message_empty": (_inner(lambda event: ""), "not_json"),
    "message_cut": (_inner(lambda event: event[:-1]), "not_json"),
    "message_twice": (_inner(lambda event: event + event), "not_json"),
    "message_array": (_inner(lambda event: f"[{event}]"), "not_object"),
    "message_null_text": (_inner(lambda event: "null"), "not_object"),
    "message_number": (_inner(lambda event: "5"), "not_object"),
    "message_line_feed_in_string": (
        _inner(_replace('"msg_type"', '"a":"\n","msg_type"')),
        "not_json",
    ),
    "message_infinity": (_inner(_replace('"msg_type"', '"a":Infinity,"msg_type"')), "not_json"),
    "message_trailing_comma": (_inner(lambda event: event[:-1] + ",}"), "not_json"),
}

MEMBER_FAULTS = _member_faults()
BYTES_FAULTS = {name: BytesFault(*fault) for name, fault in _BYTES_FAULTS.items()}
FAULTS = {**MEMBER_FAULTS, **BYTES_FAULTS}
