"""The writer is killed (SIGKILL) ten times at random moments while 50,000 events come in: one in ten
delivered again, one in fifty bad. Nothing is lost, nothing is doubled, every bad one is a dead letter."""

import random
import threading
import time

import pytest

from support.harness import run, wait_for
from support.shelf_help_events import Mix, generate
from support.shelf_help_model import Model, diff, read_database

pytestmark = pytest.mark.timeout(240)

EVENTS, LETTERS, WRITER = "shelf-help.events", "shelf-help-writer.dlq", "shelf-help-writer"
COUNT, KILLS = 50_000, 10
MIX = Mix(redelivered=0.10, bad=0.02)


def test_killed_ten_times(bus, start_writer, tables):
    chance = random.Random(4)
    records = list(generate(COUNT, seed=4, mix=MIX))
    writer = start_writer(WEIR_INSTANCE="replica-0", WEIR_COMMIT_MS="500")
    writer.wait_ready()
    go_on = threading.Event()

    def produce():
        """A tenth, then another after each kill, so that there is load at each."""
        step = COUNT // KILLS
        for start in range(0, COUNT, step):
            bus.produce(EVENTS, [record[:2] for record in records[start : start + step]])
            go_on.wait(60)
            go_on.clear()

    producer = threading.Thread(target=produce)
    producer.start()
    model = Model().feed_all(value for _, value, _ in records)
    for kill in range(KILLS):
        if kill % 3:  # in full work; else just after the start
            wait_for(writer.is_ready, 30, "at work")
        time.sleep(chance.uniform(0, 0.6))
        writer.kill()
        go_on.set()
        writer.start()
    producer.join(60)
    assert bus.count(EVENTS) == COUNT
    bus.wait_done(WRITER, EVENTS, 90)

    assert diff(model.rows, read_database(tables)) == []
    by_origin = {}
    for letter in bus.read(LETTERS):
        assert by_origin.setdefault(letter.origin, letter.value) == letter.value
    bad = {index: records[index][1] for index, _ in model.dead}
    assert {int(offset): value for (_, _, offset), value in by_origin.items()} == bad
    listed = run(
        "weir", "dlq", "ls", WRITER, "--json",
        env={"WEIR_BROKERS": bus.brokers, "WEIR_NAMESPACE": bus.namespace},
    )  # fmt: skip
    assert len(listed.stdout.splitlines()) == len(bad)  # repeats are one
    writer.stop()
