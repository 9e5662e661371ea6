"""A thousand events of a library that the table does not know yet become dead letters. The library is added,
`weir dlq redrive` sends them back: the rows are as if they had come right, and a repeat moves nothing."""

import json
from itertools import islice

import psycopg
import pytest

from support.harness import run
from support.shelf_help_events import Mix, generate
from support.shelf_help_model import Model, diff, read_database, read_libraries

pytestmark = pytest.mark.timeout(120)

EVENTS, WRITER = "shelf-help.events", "shelf-help-writer"
MIX = Mix(shelf_share=0.0)  # library searches move no date: late is as good as in time
NEW = "new-library"


def weir(bus, *arguments):
    env = {"WEIR_BROKERS": bus.brokers, "WEIR_NAMESPACE": bus.namespace}
    done = run("weir", "dlq", *arguments, env=env, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def open_letters(bus):
    return [json.loads(line) for line in weir(bus, "ls", WRITER, "--json").splitlines()]


def test_a_thousand_dead_letters_are_redriven(bus, start_writer, tables):
    records = []
    events = (event for event in generate(6_000, seed=6, mix=MIX) if b"Marsh" not in event[1])
    for number, (key, value, _) in enumerate(islice(events, 5_000)):
        if number % 5 == 0:
            outer = json.loads(value)
            event = json.loads(outer["Message"]) | {"library_id": NEW}
            value = json.dumps(outer | {"Message": json.dumps(event)}).encode()
        records.append((key, value))
    model = Model(read_libraries() | {NEW: "New Library"})
    model.feed_all(value for _, value in records)
    writer = start_writer()
    bus.produce(EVENTS, records)
    bus.wait_done(WRITER, EVENTS, 60)
    letters = open_letters(bus)
    assert len(letters) == 1000
    assert {letter["reason"] for letter in letters} == {"/Message/library_id: no such library"}
    with psycopg.connect(tables) as db:
        db.execute("INSERT INTO libraries VALUES (%s, 'New Library')", [NEW])

    weir(bus, "redrive", WRITER)
    assert bus.count(EVENTS) == 6000
    bus.wait_done(WRITER, EVENTS, 60)
    assert diff(model.rows, read_database(tables)) == []
    assert open_letters(bus) == []

    weir(bus, "redrive", WRITER)
    assert bus.count(EVENTS) == 6000
    writer.stop()
