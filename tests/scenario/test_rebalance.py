"""Two members come and go under load, by signal and by death, on one partition and on six: the writer's rows
equal the model's, and each key keeps its order."""

import json
import random
import threading
import time
from collections import defaultdict

import pytest

from support.harness import wait_for
from support.shelf_help_events import Mix, generate
from support.shelf_help_model import Model, diff, read_database

pytestmark = pytest.mark.timeout(240)

EVENTS, LETTERS, WRITER = "shelf-help.events", "shelf-help-writer.dlq", "shelf-help-writer"
ORDERED, OUT, PROBE = "test-probe.ordered", "test-probe.out", "test-probe"
MIX = Mix(redelivered=0.02, shelf_share=0.0)
SHORT_SESSIONS = {"WEIR_KAFKA_SESSION_TIMEOUT_MS": "2000", "WEIR_KAFKA_HEARTBEAT_INTERVAL_MS": "300"}


def feed(bus, topic, records, seconds):
    """From a thread of its own, spread over about so many seconds."""

    def run():
        for start in range(0, len(records), 200):
            bus.produce(topic, records[start : start + 200])
            time.sleep(200 * seconds / len(records))

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def come_and_go(first, start, load, progress):
    """One or two members, until the load ends; gives those that are left. progress() grows with the work."""
    chance = random.Random(5)
    members = [first.wait_ready()]
    changes = 0
    while load.is_alive():
        seen = progress()
        wait_for(lambda: progress() > seen or not load.is_alive(), 30, "they work")
        if len(members) == 1:
            members.append(start())
            wait_for(lambda: members[-1].is_ready() or not load.is_alive(), 30, "it joined")
        else:
            member = members.pop(chance.randrange(2))
            if changes % 4 == 3:
                member.kill()
            else:
                member.stop(25)
            wait_for(lambda: members[0].is_ready() or not load.is_alive(), 30, "the other goes on")
        changes += 1
    assert changes >= 4
    return members


@pytest.mark.parametrize("partitions", [1, 6])
def test_rows_equal_the_models(bus, start_writer, tables, partitions):
    # Between keys there is no order, so the rows must not depend on it: library searches move no date, an id
    # comes back under its key, and the two books that are one are left out.
    spread = [
        (b"group-" + meta.message_id[:1].encode(), value)
        for _, value, meta in generate(20_000, seed=partitions, mix=MIX)
        if b"Marsh" not in value
    ]
    model = Model().feed_all(value for _, value in spread)

    def start():
        return start_writer(partitions, **SHORT_SESSIONS)

    def progress():
        return sum(offset for offset, _ in bus.committed(WRITER, EVENTS).values())

    first = start()
    load = feed(bus, EVENTS, spread, 9)
    members = come_and_go(first, start, load, progress)
    load.join()
    bus.wait_done(WRITER, EVENTS, 60)
    assert diff(model.rows, read_database(tables)) == []
    assert bus.count(LETTERS) == 0
    for member in members:
        member.stop(25)


@pytest.mark.parametrize("partitions", [1, 6])
def test_each_key_keeps_its_order(bus, start_probe, partitions):
    keys, count = 40, 20_000
    records = [
        (b"key%d" % (n % keys), json.dumps({"n": n}).encode(), [("ce_id", b"cause-%d" % n)])
        for n in range(count)
    ]
    topics = {ORDERED: partitions, OUT: 1}

    def start():
        return start_probe(topics, WEIR_IN_FLIGHT_RECORDS="200", **SHORT_SESSIONS)

    def progress():
        return bus.count(OUT)

    first = start()
    load = feed(bus, ORDERED, records, 9)
    members = come_and_go(first, start, load, progress)
    load.join()
    bus.wait_done(PROBE, ORDERED, 60)
    by_key, seen = defaultdict(list), set()
    for record in bus.read(OUT):
        if record.header("ce_id") not in seen:
            seen.add(record.header("ce_id"))
            by_key[record.key].append(json.loads(record.value)["n"])
    assert by_key == {b"key%d" % key: list(range(key, count, keys)) for key in range(keys)}
    for member in members:
        member.stop(25)
