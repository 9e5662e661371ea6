"""A deterministic stream of shelf-help events: SNS envelopes as they lie in the topic.

    for key, value, meta in generate(1_000_000, seed=7, mix=HOSTILE): ...

The same arguments give the same bytes, on any machine, with or without orjson. The default Mix is
what a well-behaved publisher sends; HOSTILE has some of everything. Books, shelves and libraries
repeat as in life: few are asked for very often. Nothing in here is real.
"""

import json
import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from typing import NamedTuple

from .shelf_help_faults import (
    BOOK_MEMBERS,
    BYTES_FAULTS,
    FAULTS,
    LIBRARY_NULLABLE,
    LONG_URL,
    SHELF_NULLABLE,
)
from .shelf_help_model import read_libraries

try:
    import orjson

    def quote(text):
        return orjson.dumps(text).decode()

except ImportError:

    def quote(text):
        return json.dumps(text, ensure_ascii=False)


@dataclass(frozen=True)
class Mix:
    shelf_share: float = 0.4  # of the searches; the others are library searches
    books_per_search: int | None = None  # None: 1 to 4 if Shuffle, 1 to 10 if Search
    book_pool: int = 20000
    shelf_pool: int = 5000
    skew: float = 0.9  # exponent of Zipf's law
    hostile: float = 0.02  # share of books, shelves and messages whose text is hostile
    odd_times: float = 0.0  # blank for T, an offset, date only, many digits
    odd_shapes: float = 0.0  # other order of members, escapes, no envelope, ...
    redelivered: float = 0.0  # a MessageId once more; one in ten with another text
    nulls: float = 0.0  # null where null is stored
    unknown: float = 0.0  # a msg_type that nobody knows
    bad: float = 0.0  # must become a dead letter


HOSTILE = Mix(
    hostile=0.1, odd_times=0.1, odd_shapes=0.1, redelivered=0.05, nulls=0.05, unknown=0.02, bad=0.05
)


class Meta(NamedTuple):
    kind: str  # shelf, library, duplicate, unknown, bad
    detail: str | None = None  # which odd shape, which fault
    reason: str | None = None  # of a bad one: the model's reason
    message_id: str | None = None  # of the envelope, if it has one


def generate(count, seed=1, mix=Mix(), start=datetime(2024, 11, 5), key=b"default-group"):
    """Yields (key, value, Meta). One key for all, as the publisher has one message group."""
    return _Generator(seed, mix, start).run(count, key)


HOSTILE_TEXTS = (
    "'; DROP TABLE books; --",
    'a "quoted" title',
    "back\\slash \\n \\\\ \\",
    "100 % of %s %n %1$s",
    '{1,2,NULL,"{}"}',
    "NULL",
    "null",
    "None",
    "\\N",
    "\\.",
    "",
    " ",
    " blanks around ",
    "line\nfeed\r\n\tand tab",
    "control \x01\x1f\x7f\x85",
    "emoji 😀 👩‍👩‍👧‍👦 🏳️‍🌈",
    "e\u0301 decomposed, é composed",
    "right \u202eto left",
    "\ufeffbyte order mark",
    "nonchar \uffff \U0010ffff",
    "line \u2028 separator",
    "a,b;c|d\te",
    "$1 $$ $body$ :name ?",
    "</script><script>alert(1)</script>",
    "\\u0000 \\ud800 as text",
    "Москва 東京 القاهرة Þórsmörk",
    "very long " * 2000,
)

_TITLES = (
    "The Cartographer's Orchard|Brass Rain|Nächte über Ørsund|A Quiet Ledger|Песок и соль|雨の図書館"
    "|The Last Ferryman|Żółte światło|Salt & Vellum|Kırmızı Defter"
).split("|")
_SERIES = ("", "", "", " (The Gilded Weather, #{})", " (Harbour Lights, #{})", " (夜, #{})")
_AUTHORS = (
    "Ilse Varnholt|Teodor Quill|Þóra Blæng|J.R. O'Dell|Émile Cœur|Анна Лесная|佐藤 雨"
    "|Maya de la Cruz-Hill"
).split("|")

# The first books, asked for most often, put the hash rule to the test: a hyphen that is no separator
# (one book, the first text is kept), a leading zero, composed and decomposed, the letters None.
_TELLING_BOOKS = (
    ("The Cartographer's Orchard", "Ilse Varnholt", "9780000012345", "770001234"),
    ("Brass Rain (The Gilded Weather, #2)", "Teodor Quill", "", "770001235"),
    ("Nächte über Ørsund", "Þóra Blæng", "", "770001236"),
    ("Fen-Road", "Marsh", "", "770001237"),
    ("Fen", "Road-Marsh", "", "770001237"),
    ("Leading Zero", "Teodor Quill", "", "42"),
    ("Leading Zero", "Teodor Quill", "", "0042"),
    ("Minus", "Teodor Quill", "", "-42"),
    ("Ça ira", "Ilse Varnholt", "", "770001238"),
    ("C\u0327a ira", "Ilse Varnholt", "", "770001238"),
    ("Letters", "Ilse Varnholt", "None", "770001239"),
    ("Largest", "Ilse Varnholt", "", "9223372036854775807"),
    ("Smallest", "Ilse Varnholt", "", "-9223372036854775808"),
    ("Trailing blank ", "Ilse Varnholt", "", "770001240"),
)

_MESSAGES = (
    "AVAILABLE: Check it out now",
    "UNAVAILABLE: Check to see hold",
    "Item Not Found: Title not in this library",
    "CHECKED OUT: 0 of 3 copies ",  # ends in a blank
    "AVAILABLE at: ['Main', \"Reader's Corner\", 'East, Hill']",
    "UNKNOWN STATUS: ON HOLDSHELF",
    "Book Not Found: Check spelling",
    "LOST AND PAID",
)

_UNKNOWN_TYPES = (
    "null",
    '"PING"',
    '""',
    '"shelfsearch"',
    '"LIBRARYSEARCH "',
    '"LibrarySearch"',
    '"BOOKCLICK"',
)

_ODD_TIMES = (
    lambda time: time.isoformat(" "),
    lambda time: time.isoformat() + "Z",
    lambda time: time.isoformat() + "+05:30",
    lambda time: time.isoformat() + "-0800",
    lambda time: time.isoformat(" ") + "+09",
    lambda time: time.date().isoformat(),
    lambda time: time.isoformat(timespec="minutes") + ":59.9999996",
    lambda time: time.isoformat(timespec="seconds") + f".{time.microsecond:06}5",
    lambda time: time.isoformat(timespec="seconds") + f".{time.microsecond:06}4999",
    lambda time: time.isoformat(timespec="seconds") + ".5",
)


class _Generator:
    def __init__(self, seed, mix, start):
        self.rng = random.Random(seed)
        self.mix = mix
        self.start = start
        self.books = [self._book(n) for n in range(mix.book_pool)]
        self.rendered_books = [_object(book) for book in self.books]
        self.book_weights = self._zipf(len(self.books))
        self.shelves = [quote(self._shelf_url(n)) for n in range(mix.shelf_pool)]
        self.shelf_weights = self._zipf(len(self.shelves))
        self.libraries = [quote(library) for library in read_libraries()]
        self.library_weights = self._zipf(len(self.libraries))
        self.faults = self.rng.sample(sorted(FAULTS), len(FAULTS))
        self.bad_made = 0
        self.recent = []  # stored records to deliver again: (value, message id, kind)
        self.free_ids = []  # ids of bad records: unused, so that a mended record may carry them
        self.now = start

    def run(self, count, key):
        mix, draw = self.mix, self.rng.random
        shares = list(accumulate((mix.redelivered, mix.unknown, mix.bad, mix.nulls)))
        for n in range(count):
            self.now = self.start + timedelta(milliseconds=37 * n)
            dice = draw()
            if dice < shares[0] and self.recent:
                yield key, *self._redelivered()
            elif shares[0] <= dice < shares[1]:
                yield key, *self._unknown()
            elif shares[1] <= dice < shares[2]:
                yield key, *self._bad()
            else:
                yield key, *self._good(nulls=shares[2] <= dice < shares[3])

    # The four sorts of records

    def _good(self, nulls):
        kind, members, books = self._search()
        if nulls:
            self._null(kind, members, books)
        message_id = self._message_id()
        if self.free_ids and self.rng.random() < 0.2:
            message_id = self.free_ids.pop()
        if self.rng.random() < self.mix.odd_shapes:
            shape = self.rng.choice(sorted(_ODD_SHAPES))
            value, has_id = _ODD_SHAPES[shape](self, _object(members), message_id)
            meta = Meta(kind, shape, None, message_id if has_id else None)
        else:
            value = self._envelope(_object(members), message_id)
            meta = Meta(kind, "null" if nulls else None, None, message_id)
        self._remember(value, meta)
        return value, meta

    def _remember(self, value, meta):
        if len(self.recent) < 1000:
            self.recent.append((value, meta.message_id))
        else:
            self.recent[self.rng.randrange(1000)] = (value, meta.message_id)

    def _redelivered(self):
        value, message_id = self.rng.choice(self.recent)
        if message_id and self.rng.random() < 0.1:
            _, members, _ = self._search()
            value = self._envelope(_object(members), message_id)
            return value, Meta("duplicate", "other text", None, message_id)
        return value, Meta("duplicate", "same bytes", None, message_id)

    def _unknown(self):
        _, members, _ = self._search()
        members["msg_type"] = self.rng.choice(_UNKNOWN_TYPES)
        message_id = self._message_id()
        return self._envelope(_object(members), message_id), Meta("unknown", None, None, message_id)

    def _bad(self):
        name = self.faults[
            self.bad_made % len(self.faults)
        ]  # in turn: each comes up before one comes twice
        self.bad_made += 1
        fault = FAULTS[name]
        message_id = self._message_id()
        self.free_ids.append(message_id)
        if name in BYTES_FAULTS:
            _, members, _ = self._search()
            value = fault.make(_object(members), lambda event: self._envelope(event, message_id))
        else:
            _, members, books = self._search(None if fault.event == "either" else fault.event)
            text = fault.text
            if text is LONG_URL:
                text = quote("https://example.invalid/" + self.rng.randbytes(2000).hex())
            self._change(members, books, fault.member, text)
            value = self._envelope(_object(members), message_id)
        return value, Meta("bad", name, fault.reason, message_id)

    # What events are made of

    def _search(self, kind=None):
        """(kind, members as JSON texts, indexes of its books)."""
        rng, mix = self.rng, self.mix
        if kind is None:
            kind = "shelf" if rng.random() < mix.shelf_share else "library"
        # Clocks differ and requests last: starts are not in order, so dates go backwards at times.
        start = self.now - timedelta(microseconds=int(rng.random() * 4e6))
        if rng.random() < 0.02:
            start = start.replace(microsecond=0)  # and so the text has no fraction
        end = start + timedelta(microseconds=int(rng.random() * 5e6))
        if kind == "shelf":
            search_type = "Shuffle" if rng.random() < 0.8 else "Search"
            size = mix.books_per_search or rng.randint(1, 4 if search_type == "Shuffle" else 10)
            books = rng.choices(range(len(self.books)), cum_weights=self.book_weights, k=size)
            return (
                kind,
                {
                    "msg_type": '"SHELFSEARCH"',
                    "shelf_url": self._pick(self.shelves, self.shelf_weights),
                    "books": "[" + ",".join([self.rendered_books[n] for n in books]) + "]",
                    "num_books": str(size),
                    "time_start": self._time(start),
                    "time_end": self._time(end),
                    "total_books": str(rng.randint(1, 799)),
                    "search_type": f'"{search_type}"',
                },
                books,
            )
        book = self._pick(range(len(self.books)), self.book_weights)
        message = self._hostile() or rng.choice(_MESSAGES)
        return (
            kind,
            {
                "msg_type": '"LIBRARYSEARCH"',
                "library_id": self._pick(self.libraries, self.library_weights),
                "is_libby": "true" if rng.random() < 0.7 else "false",
                "time_start": self._time(start),
                "time_end": self._time(end),
                "book": self.rendered_books[book],
                "available": "true" if message.startswith("AVAILABLE") else "false",
                "availability_message": quote(message),
            },
            [book],
        )

    def _null(self, kind, members, books):
        names = SHELF_NULLABLE if kind == "shelf" else LIBRARY_NULLABLE
        name = self.rng.choice((*names, *(f"book.{name}" for name in BOOK_MEMBERS)))
        self._change(members, books, name, "null")

    def _change(self, members, books, path, text):
        """Sets a member to a JSON text, or takes it out (None). "book.x": x of one of the books."""
        if path.startswith("book."):
            texts = [self.rendered_books[n] for n in books]
            which = self.rng.randrange(len(books))
            book = dict(self.books[books[which]])
            _set(book, path[len("book.") :], text)
            texts[which] = _object(book)
            if "books" in members:
                members["books"] = "[" + ",".join(texts) + "]"
            else:
                members["book"] = texts[0]
        else:
            _set(members, path, text)

    def _envelope(self, event, message_id):
        stamp = self.now.isoformat(timespec="milliseconds")
        return (
            '{\n  "Type" : "Notification",\n'
            f'  "MessageId" : "{message_id}",\n'
            f'  "SequenceNumber" : "{10**19 + self.rng.randrange(10**12)}",\n'
            '  "TopicArn" : "arn:aws:sns:us-east-2:000000000000:shelf-events.fifo",\n'
            f'  "Message" : {quote(event)},\n'
            f'  "Timestamp" : "{stamp}Z",\n'
            '  "UnsubscribeURL" : "https://sns.example.invalid/?Action=Unsubscribe"\n}'
        ).encode()

    def _book(self, n):
        rng = self.rng
        if n < len(_TELLING_BOOKS):
            title, author, isbn, goodreads_id = _TELLING_BOOKS[n]
        else:
            title = rng.choice(_TITLES) + rng.choice(_SERIES).format(n % 9 + 1)
            title = self._hostile() or title
            author = self._hostile() or rng.choice(_AUTHORS)
            isbn = "" if rng.random() < 0.6 else f"978{rng.randrange(10**10):010}"
            goodreads_id = str(770100000 + n)
        return {
            "title": quote(title),
            "author": quote(author),
            "isbn": quote(isbn),
            "avg_rating": f"{rng.randint(100, 500) / 100}",
            "date_added": '"Fri, 25 Oct 2024 14:52:40 -0700"',
            "link": quote(f"https://books.example.invalid/show/{goodreads_id}"),
            "searchable_title": quote(title.split("(")[0].strip()),
            "image_link": quote(f"https://images.example.invalid/{goodreads_id}.jpg"),
            "goodreads_id": quote(goodreads_id),
        }

    def _shelf_url(self, n):
        url = f"https://www.goodreads.com/review/list/0-example?shelf=s{n}"
        text = self._hostile()
        return url if text is None else f"{url}&q={text[:600]}"

    def _hostile(self):
        return self.rng.choice(HOSTILE_TEXTS) if self.rng.random() < self.mix.hostile else None

    def _time(self, time):
        if self.mix.odd_times and self.rng.random() < self.mix.odd_times:
            return f'"{self.rng.choice(_ODD_TIMES)(time)}"'
        return f'"{time.isoformat()}"'

    def _message_id(self):
        digits = f"{self.rng.getrandbits(128):032x}"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

    def _pick(self, items, weights):
        return self.rng.choices(items, cum_weights=weights)[0]

    def _zipf(self, size):
        return list(accumulate(1 / (rank + 1) ** self.mix.skew for rank in range(size)))


def _object(members):
    return "{" + ",".join([f'"{name}":{text}' for name, text in members.items()]) + "}"


def _set(members, name, text):
    if text is None:
        del members[name]
    else:
        members[name] = text


# Other ways to write a good record: (generator, event text, message id) -> (value, has it the id)


def _reordered(generator, event, message_id):
    envelope = json.loads(
        generator._envelope(_dump(_shuffled(generator, json.loads(event))), message_id)
    )
    return _dump(_shuffled(generator, envelope)).encode(), True


def _shuffled(generator, members):
    return dict(generator.rng.sample(list(members.items()), len(members)))


def _dump(value, **options):
    return json.dumps(value, ensure_ascii=False, **options)


def _escaped(generator, event, message_id):
    envelope = json.loads(generator._envelope(json.dumps(json.loads(event)), message_id))
    return json.dumps(envelope).encode(), True


def _padded(generator, event, message_id):
    event = " \t\r\n" + _dump(json.loads(event), indent=3) + "\n"
    return b"\r\n \t" + generator._envelope(event, message_id) + b"\n\n", True


def _extra_members(generator, event, message_id):
    event = event[:-1] + ',"client":{"version":[1,null,{"a":1e3}]},"note":"\\ud83d\\ude00"}'
    value = generator._envelope(event, message_id)
    return value[:-1] + b', "Subject" : null, "MessageAttributes" : {"a" : {"Type" : "x"}}}', True


def _repeated_member(generator, event, message_id):
    return generator._envelope('{"msg_type":"PING","time_start":5,' + event[1:], message_id), True


def _without_id(generator, event, message_id):
    value = generator._envelope(event, message_id)
    return value.replace(f'  "MessageId" : "{message_id}",\n'.encode(), b""), False


def _bare(generator, event, message_id):
    return event.encode(), False


_ODD_SHAPES = {
    "reordered": _reordered,
    "escaped": _escaped,
    "padded": _padded,
    "extra members": _extra_members,
    "repeated member": _repeated_member,
    "without id": _without_id,
    "bare": _bare,
}
