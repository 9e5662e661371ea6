"""What the runtime promises every service, seen on test-probe: order, faults, retries, dead letters,
messages it sends, and what operators see of it."""

import json
import re
import time
from collections import defaultdict

import pytest

from support.harness import Bus, wait_for

pytestmark = pytest.mark.timeout(120)

ORDERED, RETRIED, BATCH = "test-probe.ordered", "test-probe.retried", "test-probe.batch"


def order(n, do="ok", **more):
    return json.dumps({"n": n, "do": do, **more}).encode()


def numbers(records):
    return [json.loads(record.value)["n"] for record in records]


def by_key(records):
    found = defaultdict(list)
    for record in records:
        found[record.key].append(json.loads(record.value)["n"])
    return found


# ---- order ----


def test_keys_keep_their_order_and_run_side_by_side(bus, start_probe):
    start_probe(WEIR_CONCURRENCY="8")
    began = time.monotonic()
    times_ms = [n * 7 % 41 for n in range(400)]  # so that the later would overtake the earlier
    bus.produce(
        ORDERED,
        [(b"key%d" % (n % 8), order(n, "sleep", ms=ms)) for n, ms in enumerate(times_ms)],
    )
    out = bus.reader("test-probe.out").wait_count(400, 30)
    assert by_key(out) == {
        b"key%d" % key: [n for n in range(400) if n % 8 == key] for key in range(8)
    }
    assert time.monotonic() - began < 0.6 * sum(times_ms) / 1000  # one after another: 8 s


def test_a_blocked_key_does_not_hold_up_the_others(bus, start_probe, tmp_path):
    gate = tmp_path / "gate"
    start_probe(WEIR_CONCURRENCY="4", WEIR_IN_FLIGHT_RECORDS="6000")
    records = [(b"blocked", order(0, "block", file=str(gate)))]
    records += [(b"blocked" if n % 10 == 0 else b"key%d" % n, order(n)) for n in range(1, 500)]
    bus.produce(ORDERED, records)
    reader = bus.reader("test-probe.out")
    assert not [n for n in numbers(reader.wait_count(450, 10)) if n % 10 == 0]
    assert bus.committed("test-probe", ORDERED).get(0, (0,))[0] == 0  # only the finished prefix
    gate.touch()
    assert by_key(reader.wait_count(500, 10))[b"blocked"] == list(range(0, 500, 10))
    bus.wait_done("test-probe", ORDERED, 5)


def test_records_in_flight_are_bounded(bus, start_probe, tmp_path):
    gate = tmp_path / "gate"
    probe = start_probe(WEIR_IN_FLIGHT_RECORDS="600")
    records = [(b"blocked", order(n, "block", file=str(gate))) for n in range(1000)]
    bus.produce(ORDERED, records)
    wait_for(lambda: probe.metric("weir_in_flight_records") >= 30, 10, "records in flight")
    wait_for(lambda: probe.metric("weir_lag_records") >= 900, 10, "lag is known")
    assert probe.metric("weir_in_flight_records") <= 101
    assert probe.metric("weir_records_received_total") <= 101  # a sixth: the probe has six partitions
    gate.touch()
    assert numbers(bus.reader("test-probe.out").wait_count(1000, 20)) == list(range(1000))


# ---- faults ----


def test_bad_input_is_a_dead_letter_whole(bus, start_probe):
    start_probe()
    headers = [
        ("ce_id", b"id-1"),
        ("twice", b"1"),
        ("twice", b"2"),
        ("empty", b""),
        ("none", None),
        ("bytes", b"\x00\xff"),
        ("weir_reason", b"of an earlier letter"),
    ]
    bus.produce(ORDERED, [(b"\x00key\xff", b"\x00 not json \xff", headers), (b"key", order(1))])
    assert numbers(bus.reader("test-probe.out").wait_count(1, 10)) == [1]
    [letter] = bus.reader("test-probe.dlq").wait_count(1, 10)
    assert (letter.key, letter.value) == (b"\x00key\xff", b"\x00 not json \xff")
    assert letter.headers[:6] == headers[:6]
    ours = dict(letter.headers[6:])
    assert len(ours) == len(letter.headers[6:])
    when = ours.pop("weir_time").decode()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", when)
    reason = ours.pop("weir_reason")
    assert reason and ours.pop("__connect.errors.exception.message") == reason
    assert ours == {
        "weir_fault": b"bad_input",
        "weir_topic": ORDERED.encode(),
        "weir_partition": b"0",
        "weir_offset": b"0",
        "weir_attempts": b"1",
        "weir_service": b"test-probe",
        "__connect.errors.topic": ORDERED.encode(),
        "__connect.errors.partition": b"0",
        "__connect.errors.offset": b"0",
    }


def test_a_tombstone_and_a_record_without_key_are_handled(bus, start_probe):
    start_probe()
    bus.produce(ORDERED, [(b"key", None), (None, order(1)), (None, order(2, "bad"))])
    letters = bus.reader("test-probe.dlq").wait_count(2, 10)
    assert sorted((letter.key, letter.value) for letter in letters if letter.key) == [
        (b"key", None)
    ]
    assert numbers(bus.reader("test-probe.out").wait_count(1, 10)) == [1]


def test_a_retry_in_place_holds_up_its_key_alone(bus, start_probe):
    start_probe(WEIR_RETRY_WAIT_MS="300")
    records = [(b"a", order(0, "retry", times=2)), (b"a", order(1)), (b"b", order(2))]
    bus.produce(ORDERED, records)
    out = [json.loads(record.value) for record in bus.reader("test-probe.out").wait_count(3, 10)]
    assert [(done["n"], done["attempt"]) for done in out] == [(2, 1), (0, 3), (1, 1)]


def test_retries_in_place_end_in_the_dead_letters(bus, start_probe):
    start_probe()
    bus.produce(ORDERED, [(b"a", order(0, "retry", times=99)), (b"a", order(1))])
    assert numbers(bus.reader("test-probe.out").wait_count(1, 10)) == [1]
    [letter] = bus.read("test-probe.dlq")
    assert letter.header("weir_attempts") == "4"  # the probe allows three retries
    assert letter.header("weir_fault") == "retry"
    assert letter.header("weir_reason") == "/do: attempt 4 is to fail"


def test_the_first_retry_topic_brings_a_record_back_after_10_seconds(bus, start_probe):
    start_probe()
    began = time.monotonic()
    headers = [("ce_id", b"id-0"), ("other", b"kept")]
    bus.produce(RETRIED, [(b"a", order(0, "retry", times=1), headers), (b"a", order(1))])
    reader = bus.reader("test-probe.out")
    assert numbers(reader.wait_count(1, 5)) == [1]  # unordered: it does not wait
    [waiting] = bus.reader("test-probe.retry.10s").wait_count(1, 5)
    assert waiting.value == order(0, "retry", times=1)
    assert waiting.headers[:2] == headers
    assert json.loads(reader.wait_count(2, 15)[1].value) == {"n": 0, "key": "a", "attempt": 2}
    assert 9.5 < time.monotonic() - began < 12
    bus.wait_done("test-probe", "test-probe.retry.10s", 5)


def test_an_outage_pauses_and_is_never_a_dead_letter(bus, start_probe, tmp_path):
    gate = tmp_path / "gate"
    probe = start_probe(WEIR_BACKOFF_MIN_MS="10", WEIR_BACKOFF_MAX_MS="100").wait_ready()
    records = [(b"%d" % n, order(n, "later", file=str(gate))) for n in range(50)]
    bus.produce(ORDERED, records)
    wait_for(lambda: probe.get("/readyz")[0] == 503, 10, "not ready")
    assert "a dependency is away" in probe.get("/readyz")[1]
    assert probe.get("/healthz")[0] == 200  # a restart would not help
    began, failures = time.monotonic(), probe.metric("weir_failures_total", "try_later")
    wait_for(
        lambda: probe.metric("weir_failures_total", "try_later") >= failures + 10, 10, "probes"
    )
    assert time.monotonic() - began > 0.4  # ten pauses of 50 to 100 ms: it does not hammer
    assert len(probe.log("paused: a dependency is away")) <= 21  # the log is limited
    gate.touch()
    assert sorted(numbers(bus.reader("test-probe.out").wait_count(50, 10))) == list(range(50))
    wait_for(probe.is_ready, 5, "ready again")
    assert len(probe.log("resumed: the dependency answers again")) == 1
    assert bus.count("test-probe.dlq") == 0
    probe.stop()


def test_fatal_stops_with_status_70_and_commits_nothing_of_the_record(bus, start_probe):
    probe = start_probe(WEIR_CONCURRENCY="1")
    bus.produce(ORDERED, [(b"a", order(0)), (b"a", order(1, "fatal")), (b"a", order(2))])
    assert probe.wait(10) == 70
    assert probe.log("stopped: can't go on")[0]["reason"] == "/do: told to stop"
    assert bus.committed("test-probe", ORDERED)[0][0] == 1
    assert numbers(bus.read("test-probe.out")) == [0]
    assert bus.count("test-probe.dlq") == 0


# ---- batches ----


def test_a_bad_record_of_a_batch_is_found_by_halving(bus, start_probe):
    bad = {37, 38, 411}
    probe = start_probe()
    bus.produce(BATCH, [(b"a", order(n, "bad" if n in bad else "ok")) for n in range(500)])
    letters = bus.reader("test-probe.dlq").wait_count(3, 20)
    assert sorted(int(letter.header("weir_offset")) for letter in letters) == sorted(bad)
    assert {letter.header("weir_reason") for letter in letters} == {"/do: told to be bad"}
    bus.wait_done("test-probe", BATCH, 10)
    out = numbers(bus.reader("test-probe.out").wait_count(497, 10))
    assert out == [n for n in range(500) if n not in bad]  # in order, each once
    assert probe.metric("weir_records_finished_total", "dead") == 3


def test_a_blamed_record_is_taken_out_at_once(bus, start_probe):
    probe = start_probe()
    bus.produce(BATCH, [(b"a", order(n, "blame" if n == 37 else "ok")) for n in range(500)])
    out = numbers(bus.reader("test-probe.out").wait_count(499, 10))
    assert out == [n for n in range(500) if n != 37]
    [letter] = bus.read("test-probe.dlq")
    assert letter.header("weir_reason") == "/do: told to be blamed"
    assert not probe.log("batch comes apart")


def test_a_batch_is_retried_as_one_then_comes_apart(bus, start_probe):
    start_probe(WEIR_RETRY_WAIT_MS="1")
    bus.produce(BATCH, [(b"a", order(n, "retry" if n == 7 else "ok", times=99)) for n in range(20)])
    out = numbers(bus.reader("test-probe.out").wait_count(19, 10))
    assert out == [n for n in range(20) if n != 7]
    [letter] = bus.reader("test-probe.dlq").wait_count(1, 10)
    assert letter.header("weir_fault") == "retry"


# ---- what it sends ----


def test_messages_carry_cloudevents_headers_and_the_trace(bus, start_probe):
    start_probe()
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    bus.produce(ORDERED, [(b"a", order(0), [("traceparent", trace.encode())]), (b"a", order(1))])
    first, second = bus.reader("test-probe.out").wait_count(2, 10)
    version, trace_id, span_id, flags = first.header("traceparent").split("-")
    assert (version, trace_id, flags) == ("00", "4bf92f3577b34da6a3ce929d0e0e4736", "01")
    assert span_id != "00f067aa0ba902b7"
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", second.header("traceparent"))
    assert second.header("traceparent").split("-")[1] != trace_id
    assert first.header("ce_specversion") == "1.0"
    assert first.header("ce_type") == "test-probe.out"
    assert first.header("ce_source") == "/weir/test-probe"
    assert first.header("content-type") == "application/json"
    assert first.header("ce_id") != second.header("ce_id")


def test_a_replay_gives_the_same_ids(bus, start_probe):
    probe = start_probe()
    cause = (b"a", order(0, "emit", times=3), [("ce_id", b"cause-1")])
    bus.produce(ORDERED, [cause, (b"a", order(1, "emit", times=3)), cause])
    out = bus.reader("test-probe.out").wait_count(9, 10)
    ids = [record.header("ce_id") for record in out]
    assert ids[:3] == ids[6:]
    assert len(set(ids)) == 6
    probe.stop()


def test_a_message_too_large_for_the_broker_makes_its_cause_a_dead_letter(bus, start_probe):
    start_probe()
    bus.produce(ORDERED, [(b"a", order(0, "huge")), (b"a", order(1))])
    assert numbers(bus.reader("test-probe.out").wait_count(1, 10)) == [1]
    [letter] = bus.reader("test-probe.dlq").wait_count(1, 10)
    assert letter.header("weir_reason").startswith("its message to test-probe.out is refused")


# ---- what is seen of it ----


def test_the_ledger_balances(bus, start_probe):
    probe = start_probe()
    records = [(b"%d" % (n % 20), order(n, "bad" if n % 50 == 0 else "ok")) for n in range(2000)]
    bus.produce(ORDERED, records)
    bus.produce(BATCH, records)
    bus.produce(RETRIED, [(b"a", order(n, "retry", times=9)) for n in range(10)])
    for topic in (ORDERED, BATCH, RETRIED):
        bus.wait_done("test-probe", topic, 30)
    received, outcomes = probe.ledger()
    in_flight = outcomes.pop("in flight")  # the ten, back from their topic and waiting
    assert outcomes == {"done": 3920, "dead": 80, "retried": 10, "duplicate": 0, "returned": 0}
    assert received == 4010 + in_flight


def test_a_namespace_sees_only_its_own(bus, brokers, services, start_probe):
    other = Bus(brokers, bus.namespace.rstrip(".") + "0.")
    other.create(dict.fromkeys(("test-probe.out", "test-probe.dlq", ORDERED), 1))
    try:
        start_probe().wait_ready()
        other.produce(ORDERED, [(b"a", order(1))])
        bus.produce(ORDERED, [(b"a", order(2))])
        assert numbers(bus.reader("test-probe.out").wait_count(1, 10)) == [2]
        bus.wait_done("test-probe", ORDERED, 5)
        assert other.count("test-probe.out") == 0
        assert not other.committed("test-probe", ORDERED)
    finally:
        other.close()


def test_a_static_member_is_back_at_once(bus, start_probe):
    """Without its name, the group would wait for the end of the old session: 30 s here."""
    probe = start_probe(WEIR_INSTANCE="replica-0", WEIR_KAFKA_SESSION_TIMEOUT_MS="30000")
    probe.wait_ready()
    probe.kill()
    began = time.monotonic()
    probe.start().wait_ready(10)
    bus.produce(ORDERED, [(b"a", order(1))])
    bus.reader("test-probe.out").wait_count(1, 10)
    assert time.monotonic() - began < 10


def test_the_log_is_json_and_says_no_payload(bus, start_probe):
    probe = start_probe()
    secret = "Nachtfalter"
    bus.produce(ORDERED, [(b"k", b'{"do":"' + secret.encode() + b'"}'), (b"k", secret.encode())])
    bus.reader("test-probe.dlq").wait_count(2, 10)
    probe.stop()
    text = probe.log_text()
    assert secret not in text
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        assert list(line)[:4] == ["time", "level", "service", "msg"]
        assert line["service"] == "test-probe"
    letter = probe.log("dead letter")[0]
    assert (letter["topic"], letter["partition"], letter["offset"]) == (ORDERED, 0, 0)
