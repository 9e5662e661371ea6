"""Records that do harm, among ten thousand that don't: a bad one must not delay the others, one that kills
the process must not do so for ever, and a bad one of a batch must not take the batch with it."""

import json
import time

import pytest

from support.harness import SANITIZED, wait_for

pytestmark = pytest.mark.timeout(180)

ORDERED, BATCH, OUT = "test-probe.ordered", "test-probe.batch", "test-probe.out"
COUNT = 10_000


def order(n, do="ok", **more):
    return json.dumps({"n": n, "do": do, **more}).encode()


def stream(poison):
    """COUNT records of 100 keys; poison: {n: what it does}."""
    return [(b"key%d" % (n % 100), order(n, poison.get(n, "ok"))) for n in range(COUNT)]


def effects(reader):
    """The numbers that came out, each once however often it was sent."""
    by_id = {record.header("ce_id"): json.loads(record.value)["n"] for record in reader.update()}
    return sorted(by_id.values())


def time_of(bus, reader, topic, poison):
    """Seconds until all but the poison are out."""
    before = bus.count(OUT)
    began = time.monotonic()
    bus.produce(topic, stream(poison))
    wanted = before + COUNT - len(poison)
    wait_for(lambda: bus.count(OUT) >= wanted, 60, "all others are out")
    took = time.monotonic() - began
    out = [json.loads(record.value)["n"] for record in reader.update()[before:]]
    assert sorted(out) == [n for n in range(COUNT) if n not in poison]
    return took


@pytest.mark.parametrize("topic", [ORDERED, BATCH])
def test_a_poison_record_delays_the_others_by_less_than_a_second(bus, start_probe, topic):
    start_probe().wait_ready()
    reader = bus.reader(OUT)
    time_of(bus, reader, topic, {})  # the first records wait for the producer's start
    plain = time_of(bus, reader, topic, {})
    poisoned = time_of(bus, reader, topic, {5000: "bad"})
    assert bus.count("test-probe.dlq") == 1
    assert SANITIZED or poisoned - plain < 1


def restart_until(probe, condition, most):
    """As a supervisor does; returns how often."""
    for restarts in range(most + 1):
        wait_for(lambda: probe.process.poll() is not None or condition(), 60, "an end")
        if probe.process.poll() is None:
            return restarts
        probe.start()
    raise AssertionError(f"still dying after {most} restarts")


@pytest.mark.parametrize("topic", [ORDERED, BATCH])
def test_a_record_that_kills_the_process_is_a_dead_letter_after_three_crashes(
    bus, start_probe, topic
):
    poison = {4321: "abort"}
    probe = start_probe(WEIR_INSTANCE="replica-0")
    bus.produce(topic, stream(poison))
    lag = "test-probe", topic
    restarts = restart_until(probe, lambda: bus.committed(*lag) and bus.lag(*lag) == 0, 12)
    [letter] = bus.read("test-probe.dlq")
    assert letter.origin == (topic, "0", "4321")
    assert letter.header("weir_reason") == "killed the process 3 times"
    assert letter.value == order(4321, "abort")
    assert restarts == 3 if topic == ORDERED else restarts <= 5
    assert effects(bus.reader(OUT)) == [n for n in range(COUNT) if n not in poison]
    probe.stop()


def test_two_such_records_are_both_found(bus, start_probe):
    poison = {100: "abort", 101: "abort", 3000: "abort"}
    probe = start_probe(WEIR_INSTANCE="replica-0")
    bus.produce(ORDERED, stream(poison)[:4000])
    lag = "test-probe", ORDERED
    restart_until(probe, lambda: bus.committed(*lag) and bus.lag(*lag) == 0, 12)
    letters = bus.read("test-probe.dlq")
    assert {letter.origin[2] for letter in letters} == {"100", "101", "3000"}
    assert effects(bus.reader(OUT)) == [n for n in range(4000) if n not in poison]


def test_bad_records_of_a_batch_are_found_by_halving(bus, start_probe):
    bad = set(range(0, COUNT, 1000)) | {7001, 7002}
    probe = start_probe()
    bus.produce(BATCH, stream(dict.fromkeys(bad, "bad")))
    bus.wait_done("test-probe", BATCH, 60)
    letters = bus.read("test-probe.dlq")
    assert sorted(int(letter.header("weir_offset")) for letter in letters) == sorted(bad)
    out = [json.loads(record.value)["n"] for record in bus.read(OUT)]
    assert out == [n for n in range(COUNT) if n not in bad]
    probe.stop()
