"""The offsets that a sink stores with its rows: they are the authority at every assignment."""

import psycopg
import pytest

from support.harness import wait_for
from support.shelf_help_events import Mix, generate

pytestmark = pytest.mark.timeout(120)

EVENTS, LETTERS, WRITER = "shelf-help.events", "shelf-help-writer.dlq", "shelf-help-writer"


def ask(dsn, query):
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(query)
        return cursor.fetchone()[0] if cursor.description else None


def stored(dsn):
    return ask(dsn, "select coalesce(max(next_offset), 0) from weir_offsets")


def events(count):
    return [(b"default-group", value) for _, value, _ in generate(count, seed=5, mix=Mix(hostile=0.0))]


def test_dead_letters_at_the_end_do_not_come_back(bus, start_writer, tables):
    writer = start_writer()
    bus.produce(EVENTS, events(10) + [(b"default-group", b"not JSON")] * 3)
    wait_for(lambda: stored(tables) == 13, 10, "the offset behind the bad records is stored")
    writer.stop()
    writer.start()
    writer.wait_ready()
    bus.produce(EVENTS, [(b"default-group", b"neither")])
    wait_for(lambda: stored(tables) == 14, 10, "the next one is done")
    assert bus.count(LETTERS) == 4


def test_an_older_database_is_filled_again(bus, start_writer, tables):
    writer = start_writer()
    bus.produce(EVENTS, events(200))
    wait_for(lambda: stored(tables) == 200, 20, "all stored")
    bus.wait_done(WRITER, EVENTS, 10)
    writer.stop()
    ask(
        tables,
        "truncate shelf_searches, library_searches, books, shelves, shelf_help_messages, weir_offsets",
    )
    writer.start()
    wait_for(lambda: stored(tables) == 200, 20, "all stored again")
    assert ask(tables, "select count(*) from shelf_help_messages") == 200


def test_an_offset_of_another_log_stops_the_start(bus, start_writer, tables):
    ask(
        tables,
        "insert into weir_offsets (service, topic, partition, next_offset)"
        " values ('shelf-help-writer', 'shelf-help.events', 0, 1000)",
    )
    writer = start_writer()
    bus.produce(EVENTS, events(5))
    assert writer.wait(20) == 70
    (line,) = writer.log("stopped: can't go on")
    assert "shelf-help.events/0: stored offset 1000 lies beyond the end of the log" in line["reason"]
    assert ask(tables, "select count(*) from shelf_help_messages") == 0
