"""SIGTERM: the end is clean and in time, and next to nothing is delivered again."""

import json
import threading
import time

import pytest

from support.harness import wait_for
from support.shelf_help_events import Mix, generate
from support.shelf_help_model import Model, diff, read_database

pytestmark = pytest.mark.timeout(180)

ORDERED, OUT, PROBE = "test-probe.ordered", "test-probe.out", "test-probe"
EVENTS, WRITER = "shelf-help.events", "shelf-help-writer"


def order(n, do="ok", **more):
    return json.dumps({"n": n, "do": do, **more}).encode()


def test_little_is_delivered_again_after_a_stop_under_load(bus, start_probe):
    """A stop commits the finished prefix. Delivered again is only what was finished behind a record that
    still waited for its key, with the same ids; without that last commit it would be hundreds a stop."""
    count, stops = 12_000, 5
    probe = start_probe(WEIR_CONCURRENCY="4", WEIR_COMMIT_MS="5s").wait_ready()
    records = [(b"key%d" % (n % 40), order(n)) for n in range(count)]
    bus.produce(ORDERED, records)
    for stop in range(1, stops + 1):
        wait_for(lambda: bus.count(OUT) >= count * stop // (stops + 2), 30, "at work")
        began = time.monotonic()
        probe.stop(20)
        assert time.monotonic() - began < 5
        probe.start()
    bus.wait_done(PROBE, ORDERED, 60)
    out = bus.read(OUT)
    by_id = {record.header("ce_id"): json.loads(record.value)["n"] for record in out}
    assert sorted(by_id.values()) == list(range(count))
    assert len(out) - count < 100 * stops
    probe.stop()


def test_what_is_in_work_is_finished_within_the_drain_time(bus, start_probe):
    probe = start_probe(WEIR_CONCURRENCY="2", WEIR_DRAIN_MS="10s")
    bus.produce(ORDERED, [(b"a", order(0, "sleep", ms=1500)), (b"b", order(1, "sleep", ms=1500))])
    wait_for(lambda: bus.committed(PROBE, ORDERED), 10, "the records are announced")
    wait_for(lambda: probe.metric("weir_in_flight_records") == 2, 10, "in work")
    time.sleep(0.2)
    probe.stop(10)
    assert sorted(json.loads(record.value)["n"] for record in bus.read(OUT)) == [0, 1]
    assert bus.lag(PROBE, ORDERED) == 0


def test_a_handler_that_hangs_does_not_hold_up_the_end(bus, start_probe, tmp_path):
    probe = start_probe(WEIR_DRAIN_MS="1s")
    bus.produce(ORDERED, [(b"a", order(0)), (b"b", order(1, "block", file=str(tmp_path / "never")))])
    bus.reader(OUT).wait_count(1, 10)
    probe.term()
    began = time.monotonic()
    assert probe.wait(20) != 0  # said, not hidden
    assert time.monotonic() - began < 10
    assert bus.committed(PROBE, ORDERED)[0][0] == 1


def test_a_second_signal_stops_at_once(bus, start_probe, tmp_path):
    probe = start_probe()
    bus.produce(ORDERED, [(b"a", order(0)), (b"b", order(1, "block", file=str(tmp_path / "never")))])
    bus.reader(OUT).wait_count(1, 10)
    probe.term()
    probe.wait_log("stopping")
    time.sleep(1.2)  # two within a second are one wish
    began = time.monotonic()
    probe.term()
    assert probe.wait(5) == 1
    assert time.monotonic() - began < 2


def test_twenty_starts_and_stops_in_a_row(bus, start_writer, tables):
    """Some as soon as they are ready, some at work, some right after the start."""
    records = list(generate(20_000, seed=8, mix=Mix(redelivered=0.02)))
    model = Model().feed_all(value for _, value, _ in records)
    writer = start_writer()
    load = threading.Thread(target=bus.produce, args=(EVENTS, [record[:2] for record in records]))
    load.start()
    for turn in range(20):
        if turn % 4 == 0:
            writer.wait_ready()
        elif turn % 4 == 1:
            wait_for(lambda: writer.log("assigned"), 10, "assigned")
        elif turn % 4 == 2:
            wait_for(lambda: writer.log("started"), 10, "started")
        else:
            wait_for(lambda: writer.catches_signals(), 10, "in main()")
        writer.stop(10)
        writer.start()
    load.join()
    bus.wait_done(WRITER, EVENTS, 30)
    assert diff(model.rows, read_database(tables)) == []
    writer.stop()


def test_a_stop_while_the_database_is_away(bus, start_writer):
    url = "postgresql://nobody@127.0.0.1:1/none"
    writer = start_writer(SHELF_HELP_DATABASE_URL=url)
    writer.wait_log("waiting for a dependency to start")
    writer.stop(5)


def test_a_stop_while_the_broker_is_away(bus, start_writer):
    writer = start_writer(WEIR_BROKERS="127.0.0.1:1")
    writer.wait_log("kafka: unreachable, waiting")
    writer.stop(10)
