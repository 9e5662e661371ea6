"""The schema that the migrations build: names, types, views and access are an interface.

Dashboards, dumps and other tools read these tables and views by name. What is expected here comes
from the pipeline's description, not from the migrations.
"""

import random
import uuid
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from support.shelf_help_model import read_libraries

TABLES = {
    "libraries": [
        ("library_id", "character varying", False),
        ("library_name", "character varying", False),
    ],
    "books": [
        ("book_id", "bigint", False),
        ("unique_hash", "character varying", False),
        ("gr_id", "bigint", True),
        ("title", "character varying", True),
        ("author", "character varying", True),
        ("isbn", "character varying", True),
        ("date_added", "timestamp without time zone", True),
        ("date_last_displayed", "timestamp without time zone", True),
    ],
    "shelves": [
        ("shelf_id", "bigint", False),
        ("shelf_url", "character varying", False),
        ("date_added", "timestamp without time zone", True),
        ("date_last_searched", "timestamp without time zone", True),
    ],
    "shelf_searches": [
        ("shelf_search_id", "bigint", False),
        ("shelf_id", "bigint", True),
        ("num_books", "integer", True),
        ("time_start", "timestamp without time zone", True),
        ("time_complete", "timestamp without time zone", True),
        ("total_book_count", "integer", True),
        ("books_returned", "bigint[]", True),
        ("search_type", "character varying", True),
    ],
    "library_searches": [
        ("library_search_id", "bigint", False),
        ("library_id", "character varying", False),
        ("is_libby", "boolean", True),
        ("time_start", "timestamp without time zone", True),
        ("time_complete", "timestamp without time zone", True),
        ("book_id", "bigint", True),
        ("available", "boolean", True),
        ("availability_message", "character varying", True),
    ],
}

INTERNAL_TABLES = {
    "shelf_help_messages": [
        ("message_id", "text", False),
        ("received_at", "timestamp with time zone", False),
    ],
    "weir_offsets": [
        ("service", "text", False),
        ("topic", "text", False),
        ("partition", "integer", False),
        ("next_offset", "bigint", False),
        ("updated_at", "timestamp with time zone", False),
    ],
}

IDENTITIES = {
    "books": "book_id",
    "shelves": "shelf_id",
    "shelf_searches": "shelf_search_id",
    "library_searches": "library_search_id",
}

CONSTRAINTS = {
    ("libraries", "libraries_pkey", "PRIMARY KEY (library_id)"),
    ("books", "books_pkey", "PRIMARY KEY (book_id)"),
    ("books", "books_unique_hash_key", "UNIQUE (unique_hash)"),
    ("shelves", "shelves_pkey", "PRIMARY KEY (shelf_id)"),
    ("shelves", "shelves_shelf_url_key", "UNIQUE (shelf_url)"),
    ("shelf_searches", "shelf_searches_pkey", "PRIMARY KEY (shelf_search_id)"),
    (
        "shelf_searches",
        "shelf_searches_shelf_id_fkey",
        "FOREIGN KEY (shelf_id) REFERENCES shelves(shelf_id)",
    ),
    ("library_searches", "library_searches_pkey", "PRIMARY KEY (library_search_id)"),
    (
        "library_searches",
        "library_searches_library_id_fkey",
        "FOREIGN KEY (library_id) REFERENCES libraries(library_id)",
    ),
    (
        "library_searches",
        "library_searches_book_id_fkey",
        "FOREIGN KEY (book_id) REFERENCES books(book_id)",
    ),
    ("shelf_help_messages", "shelf_help_messages_pkey", "PRIMARY KEY (message_id)"),
    ("weir_offsets", "weir_offsets_pkey", "PRIMARY KEY (service, topic, partition)"),
}

# Besides those of the constraints.
INDEXES = {
    ("idx_shelf_searches_books_returned", "shelf_searches USING gin (books_returned)"),
    ("idx_library_searches_library_id", "library_searches USING btree (library_id)"),
    ("idx_library_searches_book_id", "library_searches USING btree (book_id)"),
    ("idx_library_searches_is_libby", "library_searches USING btree (is_libby)"),
    ("idx_library_searches_available", "library_searches USING btree (available)"),
    ("idx_shelf_help_messages_received_at", "shelf_help_messages USING brin (received_at)"),
}

COUNT = [("count", "bigint", True)]
CUMULATIVE = [
    ("date", "text", True),
    ("date_axis", "text", True),
    ("shelf_count", "bigint", True),
    ("Cumulative Shelf Count", "numeric", True),
]
VIEWS = {
    "total_unique_shelves": COUNT,
    "total_shelf_searches": COUNT,
    "total_library_searches": COUNT,
    "library_avail_rate": [("availability_perc", "numeric", True)],
    "library_availability_by_medium": [
        ("medium", "text", True),
        ("Available", "bigint", True),
        ("Unavailable", "bigint", True),
    ],
    "hourly_shelf_searches": [("Hour", "integer", True), ("Searches", "bigint", True)],
    "search_type_summary": [
        ("name", "character varying", True),
        ("value", "bigint", True),
        ("color", "text", True),
    ],
    "cumulative_shelf_counts_daily": CUMULATIVE,
    "cumulative_shelf_counts_weekly": CUMULATIVE,
    "cumulative_shelf_counts_monthly": CUMULATIVE,
}


@pytest.fixture
def db(database, apply_migrations):
    apply_migrations(database)
    with psycopg.connect(database, autocommit=True, options="-c TimeZone=UTC") as connection:
        yield connection


@pytest.fixture
def admin(database, postgres_admin_url):
    """The same database as superuser."""
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    with psycopg.connect(
        make_conninfo(postgres_admin_url, dbname=name), autocommit=True
    ) as connection:
        yield connection


@pytest.fixture
def role(admin):
    """The name of a role with no rights at all."""
    name = f"test_{uuid.uuid4().hex}"
    admin.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(name)))
    yield name
    admin.execute("RESET ROLE")
    admin.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
    admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def columns(db, kind):
    relations = {}
    for relation, *column in db.execute(
        "SELECT relname, attname, format_type(atttypid, atttypmod), NOT attnotnull"
        " FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid"
        " WHERE relnamespace = 'public'::regnamespace AND relkind = %s AND attnum > 0 AND NOT attisdropped"
        " ORDER BY relname, attnum",
        [kind],
    ):
        relations.setdefault(relation, []).append(tuple(column))
    return relations


def rows(db, query, *parameters):
    return db.execute(query, parameters or None).fetchall()


# Names and types


def test_tables(db):
    assert columns(db, "r") == TABLES | INTERNAL_TABLES


def test_the_eleven_alone_build_the_known_schema(database, apply_migrations):
    apply_migrations(database, last="20250115181138")
    with psycopg.connect(database) as db:
        assert columns(db, "r") == TABLES
        assert columns(db, "v") == VIEWS


def test_views(db):
    assert columns(db, "v") == VIEWS


def test_identities_and_defaults(db):
    found = rows(
        db,
        "SELECT table_name, column_name, identity_generation, identity_start, identity_increment"
        " FROM information_schema.columns WHERE table_schema = 'public' AND is_identity = 'YES'",
    )
    assert sorted(found) == sorted(
        (table, column, "ALWAYS", "1", "1") for table, column in IDENTITIES.items()
    )
    with_default = rows(
        db,
        "SELECT table_name, column_name, column_default FROM information_schema.columns"
        " WHERE table_schema = 'public' AND column_default IS NOT NULL ORDER BY 1",
    )
    assert with_default == [
        ("shelf_help_messages", "received_at", "now()"),
        ("weir_offsets", "updated_at", "now()"),
    ]


def test_constraints(db):
    found = rows(
        db,
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace AND contype <> 'n'",
    )
    assert set(found) == CONSTRAINTS


def test_indexes(db):
    found = rows(
        db,
        "SELECT indexname, substring(indexdef FROM ' ON public[.](.*)') FROM pg_indexes"
        " WHERE schemaname = 'public' AND indexname NOT IN (SELECT conname FROM pg_constraint)",
    )
    assert set(found) == INDEXES


# Libraries


def test_libraries_in_seed_order(db):
    # ctid is the place in the table: rows never updated lie in the order of their insertion.
    found = rows(db, "SELECT library_id, library_name FROM libraries ORDER BY ctid")
    assert len(found) == 1383
    assert found == list(read_libraries().items())


def test_seed_holds_all_but_the_last_two(database, apply_migrations):
    apply_migrations(database, last="20240902163111")
    with psycopg.connect(database) as db:
        found = rows(db, "SELECT library_id, library_name FROM libraries ORDER BY ctid")
    assert found == list(read_libraries().items())[:1381]


# Data migrations


def test_dates_are_populated_from_the_searches(database, apply_migrations):
    apply_migrations(database, last="20240907190023")
    with psycopg.connect(database, autocommit=True) as db:
        db.execute("INSERT INTO shelves (shelf_url) VALUES ('u1'), ('u2'), ('never searched')")
        db.execute("INSERT INTO books (unique_hash) VALUES ('h1'), ('h2'), ('h3'), ('never shown')")
        db.execute(
            "INSERT INTO shelf_searches (shelf_id, time_start, books_returned) VALUES"
            " (1, '2024-03-05 10:00', '{1,2,1}'), (1, '2024-01-05 10:00', '{2}'), (1, '2024-02-05 10:00', '{}'),"
            " (2, '2024-06-01 01:02:03.000004', '{3}'), (2, NULL, '{3}'), (NULL, '2024-07-01', NULL)"
        )
    apply_migrations(database, first="20240907190150")
    with psycopg.connect(database) as db:
        assert rows(
            db, "SELECT shelf_url, date_added, date_last_searched FROM shelves ORDER BY shelf_id"
        ) == [
            ("u1", datetime(2024, 1, 5, 10), datetime(2024, 3, 5, 10)),
            ("u2", datetime(2024, 6, 1, 1, 2, 3, 4), datetime(2024, 6, 1, 1, 2, 3, 4)),
            ("never searched", None, None),
        ]
        assert rows(
            db, "SELECT unique_hash, date_added, date_last_displayed FROM books ORDER BY book_id"
        ) == [
            ("h1", datetime(2024, 3, 5, 10), datetime(2024, 3, 5, 10)),
            ("h2", datetime(2024, 1, 5, 10), datetime(2024, 3, 5, 10)),
            ("h3", datetime(2024, 6, 1, 1, 2, 3, 4), datetime(2024, 6, 1, 1, 2, 3, 4)),
            ("never shown", None, None),
        ]


def test_searches_before_the_search_type_become_shuffles(database, apply_migrations):
    apply_migrations(database, last="20240925153723")
    with psycopg.connect(database, autocommit=True) as db:
        db.execute(
            "INSERT INTO shelf_searches (num_books, search_type) VALUES (1, NULL), (2, 'Search')"
        )
    apply_migrations(database, first="20240925153823")
    with psycopg.connect(database) as db:
        db.execute("INSERT INTO shelf_searches (num_books) VALUES (3)")
        found = rows(db, "SELECT num_books, search_type FROM shelf_searches ORDER BY 1")
        assert found == [(1, "Shuffle"), (2, "Shuffle"), (3, None)]


# Views


def test_views_of_empty_tables(db):
    for view in ("total_unique_shelves", "total_shelf_searches", "total_library_searches"):
        assert rows(db, f"SELECT * FROM {view}") == [(0,)]
    assert rows(db, "SELECT * FROM library_avail_rate") == [(None,)]
    assert rows(db, "SELECT * FROM library_availability_by_medium") == []
    assert rows(db, "SELECT * FROM search_type_summary") == []
    assert rows(db, "SELECT * FROM hourly_shelf_searches") == [(hour, 0) for hour in range(24)]
    assert [row[2:] for row in rows(db, "SELECT * FROM cumulative_shelf_counts_daily")] == [
        (0, 0)
    ] * 91
    assert rows(db, "SELECT * FROM cumulative_shelf_counts_weekly") == []
    assert rows(db, "SELECT * FROM cumulative_shelf_counts_monthly") == []


def test_totals(db):
    db.execute("INSERT INTO shelves (shelf_url) VALUES ('a'), ('b')")
    db.execute("INSERT INTO shelf_searches (shelf_id) VALUES (1), (1), (NULL)")
    db.execute("INSERT INTO library_searches (library_id) SELECT 'sfpl' FROM generate_series(1, 4)")
    assert rows(db, "SELECT * FROM total_unique_shelves") == [(2,)]
    assert rows(db, "SELECT * FROM total_shelf_searches") == [(3,)]
    assert rows(db, "SELECT * FROM total_library_searches") == [(4,)]


def library_searches(db, *searches):
    with db.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO library_searches (library_id, is_libby, available) VALUES ('sfpl', %s, %s)",
            searches,
        )


@pytest.mark.parametrize(
    "answers, rate",
    [
        ([True, True, False], "66.67"),
        ([True, False, None], "33.33"),
        ([None], "0.00"),
        ([True], "100.00"),
        ([True] + [False] * 7, "12.50"),
        ([True] + [False] * 799, "0.13"),  # 0.125: half goes up
    ],
)
def test_availability_rate(db, answers, rate):
    library_searches(db, *((True, answer) for answer in answers))
    [(found,)] = rows(db, "SELECT * FROM library_avail_rate")
    assert isinstance(found, Decimal) and str(found) == rate


def test_availability_by_medium(db):
    library_searches(db, (True, True), (True, True), (True, False), (True, None))
    assert rows(db, "SELECT * FROM library_availability_by_medium") == [("Libby", 2, 2)]
    library_searches(db, (False, True), (None, True), (None, None), (False, False), (None, False))
    assert sorted(rows(db, "SELECT * FROM library_availability_by_medium")) == [
        ("Book", 2, 3),
        ("Libby", 2, 2),
    ]


def test_hours_as_stored(db):
    db.execute(
        "INSERT INTO shelf_searches (time_start) VALUES ('2024-11-05 00:00'), ('2025-01-01 23:59:59.999999'),"
        " ('2024-11-05 07:59'), ('2023-11-05 07:00'), (NULL)"
    )
    want = [(hour, {0: 1, 7: 2, 23: 1}.get(hour, 0)) for hour in range(24)]
    assert rows(db, "SELECT * FROM hourly_shelf_searches") == want
    db.execute("SET TIME ZONE 'Asia/Tokyo'")
    assert rows(db, "SELECT * FROM hourly_shelf_searches") == want


def test_search_types_and_their_colours(db):
    db.execute(
        "INSERT INTO shelf_searches (search_type)"
        " VALUES ('Shuffle'), ('Shuffle'), ('Search'), ('search'), (NULL), (NULL)"
    )
    assert set(rows(db, "SELECT * FROM search_type_summary")) == {
        ("Shuffle", 2, "indigo.6"),
        ("Search", 1, "blue.6"),
        ("search", 1, None),
        (None, 2, None),
    }


@pytest.fixture
def today():
    """The UTC date: what a test inserts and what its views see must not be two days."""
    now = datetime.now(timezone.utc)
    if (now + timedelta(seconds=30)).date() != now.date():
        pytest.skip("within 30 seconds of midnight UTC")
    return now.date()


def shelves(db, *dates):
    with db.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO shelves (shelf_url, date_added) VALUES (%s, %s)",
            [(uuid.uuid4().hex, day) for day in dates],
        )


def daily(db):
    return rows(db, "SELECT * FROM cumulative_shelf_counts_daily")


def ago(today, days, *clock):
    return datetime.combine(today - timedelta(days=days), datetime.min.time()).replace(
        **dict(zip(("hour", "minute", "second", "microsecond"), clock, strict=False))
    )


def test_daily_dates_and_axis(db, today):
    days = [today - timedelta(days=back) for back in range(90, -1, -1)]
    found = daily(db)
    assert [row[0] for row in found] == [day.isoformat() for day in days]
    assert [row[1] for row in found] == [day.strftime("%b %d").upper() for day in days]


def test_daily_without_older_shelves_has_numbers(db, today):
    shelves(db, ago(today, 0, 0), ago(today, 0, 23, 59, 59, 999999), ago(today, 1, 12), None)
    found = daily(db)
    assert [row[2:] for row in found] == [(0, 0)] * 89 + [(1, 1), (2, 3)]


def test_daily_counts_the_first_day_once(db, today):
    shelves(
        db,
        ago(today, 90),
        ago(today, 90, 23, 59),
        ago(today, 91, 23, 59, 59, 999999),
        ago(today, 4000),
        None,
    )
    found = daily(db)
    assert [row[2:] for row in found] == [(2, 4)] + [(0, 4)] * 90


def test_daily_ends_at_the_number_of_shelves_up_to_today(db, today):
    rng = random.Random(11)
    dates = [
        ago(today, rng.randint(-3, 200), rng.randint(0, 23), rng.randint(0, 59)) for _ in range(500)
    ]
    shelves(db, *dates, None, None)
    found = daily(db)
    assert found[-1][3] == sum(day.date() <= today for day in dates)
    for text, _, shelf_count, cumulative in found:
        assert shelf_count == sum(day.date().isoformat() == text for day in dates)
        assert cumulative == sum(day.date().isoformat() <= text for day in dates)


def test_daily_before_its_correction(database, apply_migrations, today):
    """The two defects as the eleventh migration leaves them, so that the correction is one."""
    apply_migrations(database, last="20250115181138")
    with psycopg.connect(database, autocommit=True) as db:
        shelves(db, ago(today, 0))
        assert {row[3] for row in daily(db)} == {None}
        shelves(db, ago(today, 90), ago(today, 91))
        assert [row[2:] for row in daily(db)][::90] == [(1, 3), (1, 4)]


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Etc/GMT+12", "America/New_York"])
def test_trends_do_not_depend_on_the_sessions_zone(db, today, zone):
    shelves(db, *(ago(today, days, 0, 30) for days in range(0, 120, 7)))
    views = [view for view in VIEWS if view.startswith("cumulative")]
    want = [rows(db, f"SELECT * FROM {view}") for view in views]
    db.execute(sql.SQL("SET TIME ZONE {}").format(sql.Literal(zone)))
    assert [rows(db, f"SELECT * FROM {view}") for view in views] == want
    # Weeks and months would show a wrong zone only on the days at their ends.
    for view in views:
        [(text,)] = rows(db, "SELECT pg_get_viewdef(%s::regclass)", view)
        assert text.count("now()") == text.count("(now() AT TIME ZONE 'UTC'::text)") > 0


def test_weekly(db, today):
    monday = today - timedelta(days=today.weekday())
    first = monday - timedelta(weeks=3)
    # The first shelf on a Sunday evening, the next in the following week's first second.
    shelves(db, datetime.combine(first, datetime.min.time()) + timedelta(days=6, hours=23), None)
    shelves(db, datetime.combine(first + timedelta(weeks=1), datetime.min.time()), ago(today, 0))
    weeks = [first + timedelta(weeks=week) for week in range(-1, 4)]
    assert rows(db, "SELECT * FROM cumulative_shelf_counts_weekly") == [
        (week.isoformat(), week.strftime("%b %d").upper(), count, total)
        for week, count, total in zip(weeks, (0, 1, 1, 0, 1), (0, 1, 2, 2, 3), strict=True)
    ]


def test_monthly(db, today):
    def month(back):
        index = today.year * 12 + today.month - 1 - back
        return date(index // 12, index % 12 + 1, 1)

    last_moment = datetime.combine(month(12), datetime.min.time()) - timedelta(microseconds=1)
    shelves(db, last_moment, datetime.combine(month(12), datetime.min.time()), ago(today, 0), None)
    counts = {month(13): 1, month(12): 1, month(0): 1}
    total, want = 0, []
    for back in range(14, -1, -1):
        count = counts.get(month(back), 0)
        total += count
        want.append((month(back).isoformat(), month(back).strftime("%b").upper(), count, total))
    assert rows(db, "SELECT * FROM cumulative_shelf_counts_monthly") == want


def test_undated_shelves_are_in_the_total_only(db, today):
    shelves(db, None)
    assert rows(db, "SELECT * FROM total_unique_shelves") == [(1,)]
    assert {row[3] for row in daily(db)} == {0}
    assert rows(db, "SELECT * FROM cumulative_shelf_counts_weekly") == []
    assert rows(db, "SELECT * FROM cumulative_shelf_counts_monthly") == []


# Access


def test_row_level_security_is_on_but_not_forced_and_has_no_policies(db):
    found = rows(
        db,
        "SELECT relname, relrowsecurity, relforcerowsecurity FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'",
    )
    assert set(found) == {(table, True, False) for table in TABLES | INTERNAL_TABLES}
    assert rows(db, "SELECT * FROM pg_policies") == []


def test_atlas_own_table_is_closed_too(database, apply_migrations):
    with psycopg.connect(database, autocommit=True) as db:
        db.execute("CREATE TABLE atlas_schema_revisions (version character varying PRIMARY KEY)")
        apply_migrations(database)
        [found] = rows(
            db, "SELECT relrowsecurity FROM pg_class WHERE relname = 'atlas_schema_revisions'"
        )
        assert found == (True,)


def test_views_run_with_their_owners_rights(db):
    query = "SELECT DISTINCT reloptions FROM pg_class WHERE relkind = 'v' AND relname = ANY (%s)"
    assert rows(db, query, list(VIEWS)) == [(None,)]


def test_migrations_grant_nothing(db):
    found = rows(
        db,
        "SELECT DISTINCT grantee FROM information_schema.table_privileges"
        " WHERE table_schema = 'public' AND grantee <> current_user",
    )
    assert found == []


def fill(db):
    db.execute("INSERT INTO shelves (shelf_url, date_added) VALUES ('a', now()), ('b', now())")
    db.execute("INSERT INTO books (unique_hash) VALUES ('h')")
    db.execute("INSERT INTO shelf_searches (shelf_id, search_type) VALUES (1, 'Search')")
    db.execute(
        "INSERT INTO library_searches (library_id, is_libby, available) VALUES ('sfpl', true, true)"
    )
    db.execute("INSERT INTO shelf_help_messages (message_id) VALUES ('m')")
    db.execute("INSERT INTO weir_offsets VALUES ('s', 't', 0, 1)")


def test_a_stranger_with_all_grants_reads_and_writes_nothing(db, admin, role):
    fill(db)
    admin.execute(
        sql.SQL("GRANT ALL ON ALL TABLES IN SCHEMA public TO {}").format(sql.Identifier(role))
    )
    admin.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
    inserts = {
        "libraries": "(library_id, library_name) VALUES ('x', 'x')",
        "books": "(unique_hash) VALUES ('x')",
        "shelves": "(shelf_url) VALUES ('x')",
        "shelf_searches": "(num_books) VALUES (1)",
        "library_searches": "(library_id) VALUES ('sfpl')",
        "shelf_help_messages": "(message_id) VALUES ('x')",
        "weir_offsets": "VALUES ('s', 't', 1, 1)",
    }
    assert inserts.keys() == (TABLES | INTERNAL_TABLES).keys()
    for table, values in inserts.items():
        assert rows(admin, f"SELECT * FROM {table}") == []
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as error:
            admin.execute(f"INSERT INTO {table} {values}")
        assert error.value.sqlstate == "42501"


def test_the_dashboards_role_sees_totals_and_no_rows(db, admin, role):
    fill(db)
    for view in VIEWS:
        admin.execute(
            sql.SQL("GRANT SELECT ON {} TO {}").format(sql.Identifier(view), sql.Identifier(role))
        )
    admin.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
    assert rows(admin, "SELECT * FROM total_unique_shelves") == [(2,)]
    assert rows(admin, "SELECT * FROM total_shelf_searches") == [(1,)]
    assert rows(admin, "SELECT * FROM total_library_searches") == [(1,)]
    assert rows(admin, "SELECT * FROM library_avail_rate") == [(Decimal("100.00"),)]
    assert rows(admin, "SELECT * FROM library_availability_by_medium") == [("Libby", 1, 0)]
    assert rows(admin, "SELECT * FROM search_type_summary") == [("Search", 1, "blue.6")]
    assert rows(
        admin, 'SELECT max("Cumulative Shelf Count") FROM cumulative_shelf_counts_daily'
    ) == [(2,)]
    for table in TABLES | INTERNAL_TABLES:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            admin.execute(f"SELECT * FROM {table}")


# Limits


def test_an_id_cannot_be_chosen(db):
    for table, column in IDENTITIES.items():
        with pytest.raises(psycopg.errors.GeneratedAlways):
            db.execute(f"INSERT INTO {table} ({column}) VALUES (7)")
    db.execute("INSERT INTO shelves (shelf_id, shelf_url) OVERRIDING SYSTEM VALUE VALUES (7, 'u')")


def test_an_unknown_library_breaks_the_foreign_key(db):
    for library in ("no-such-library", "SFPL", "sfpl "):
        with pytest.raises(psycopg.errors.ForeignKeyViolation) as error:
            db.execute("INSERT INTO library_searches (library_id) VALUES (%s)", [library])
        assert error.value.diag.constraint_name == "library_searches_library_id_fkey"


def test_a_long_shelf_url_that_does_not_compress_is_refused(db):
    rng = random.Random(1)
    db.execute(
        "INSERT INTO shelves (shelf_url) VALUES (%s)", [rng.randbytes(1345).hex()]
    )  # 2,690 bytes
    with pytest.raises(psycopg.errors.ProgramLimitExceeded) as error:
        db.execute("INSERT INTO shelves (shelf_url) VALUES (%s)", [rng.randbytes(1360).hex()])
    assert error.value.sqlstate == "54000"
    db.execute("INSERT INTO shelves (shelf_url) VALUES (%s)", ["a" * 10000])  # compresses
