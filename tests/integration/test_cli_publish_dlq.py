"""weir publish and weir dlq, against a real Kafka."""

import json
import re
import signal
import subprocess
import time
import uuid

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from support.harness import BUILD, ROOT, clean_environment, run, wait_for

SAMPLES = ROOT / "proto" / "shelf-help" / "samples"


@pytest.fixture
def weir(bus):
    """weir(arguments ...) in the test's namespace; input= goes to standard input."""

    def call(*arguments, input=None, env=()):
        own = {"WEIR_BROKERS": bus.brokers, "WEIR_NAMESPACE": bus.namespace, **dict(env)}
        if input is None:
            return run("weir", *map(str, arguments), env=own, timeout=60)
        command = [BUILD / "bin" / "weir", *map(str, arguments)]
        return subprocess.run(command, env={**clean_environment(), **own}, input=input, capture_output=True, text=True, timeout=60)

    return call


def ok(done):
    assert done.returncode == 0, done.stderr
    return done.stdout


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


# publish


@pytest.fixture
def events(bus):
    bus.create({"shelf-help.events": 1})
    return bus


def test_publish_sends_the_bytes_with_headers_and_prints_the_place(weir, events):
    path = SAMPLES / "good" / "shelfsearch.json"
    assert ok(weir("publish", "shelf-help.events", path)) == "shelf-help.events 0 0\n"
    ok(weir("publish", "shelf-help.events", SAMPLES / "good" / "bare-librarysearch.json", "--key", "other"))
    first, second = events.read("shelf-help.events")
    assert first.value == path.read_bytes()
    assert (first.key, second.key) == (b"default-group", b"other")
    assert uuid.UUID(first.header("ce_id")).version == 4
    assert first.header("ce_id") != second.header("ce_id")
    assert first.header("ce_type") == "shelf-help.events"
    assert first.header("ce_source") == "/weir/cli"
    assert first.header("ce_specversion") == "1.0"
    assert first.header("content-type") == "application/json"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first.header("ce_time"))
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", first.header("traceparent"))


def test_publish_headers_trace_json_and_stdin(weir, events):
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    text = (SAMPLES / "good" / "librarysearch.json").read_text()
    out = ok(
        weir(
            *("publish", "shelf-help.events", "--header", "ce_id=mine", "--header", "x=a=b", "--json"),
            input=text,
            env={"TRACEPARENT": trace},
        )
    )
    assert lines(out) == [{"topic": "shelf-help.events", "partition": 0, "offset": 0}]
    [record] = events.read("shelf-help.events")
    assert record.value == text.encode()
    assert record.header("ce_id") == "mine" and record.header("x") == "a=b"
    assert record.header("traceparent").startswith(trace[:36]) and record.header("traceparent") != trace


def test_publish_refuses_what_the_contract_refuses(weir, events):
    done = weir("publish", "shelf-help.events", SAMPLES / "bad" / "goodreads-id-words.json")
    assert done.returncode == 65
    assert done.stderr == "weir: /Message/books/1/goodreads_id: not a decimal integer\n"
    done = weir("publish", "shelf-help.events", SAMPLES / "good" / "unknown-type.json")
    assert done.returncode == 65 and "/Message/msg_type: unknown" in done.stderr
    done = weir("publish", "shelf-help.events", input='{"msg_type":"PING"}')
    assert done.returncode == 65 and "weir: /msg_type: unknown" in done.stderr
    assert events.count("shelf-help.events") == 0
    ok(weir("publish", "shelf-help.events", SAMPLES / "bad" / "goodreads-id-words.json", "--raw"))
    assert events.count("shelf-help.events") == 1


def test_publish_lines_stops_at_the_wrong_one(weir, events):
    good = json.dumps(json.loads((SAMPLES / "good" / "librarysearch.json").read_text()))
    done = weir("publish", "shelf-help.events", "--lines", input=f"{good}\n\n{good}\r\n{{}}\n{good}\n")
    assert done.returncode == 65 and "line 4: /Message: missing" in done.stderr
    assert done.stdout == "shelf-help.events 0 0\nshelf-help.events 0 1\n"
    assert [record.value.decode() for record in events.read("shelf-help.events")] == [good, good]


def test_publish_many_lines(weir, events):
    good = json.dumps(json.loads((SAMPLES / "good" / "librarysearch.json").read_text()))
    out = ok(weir("publish", "shelf-help.events", "--lines", input=f"{good}\n" * 5000))
    assert out.splitlines() == [f"shelf-help.events 0 {offset}" for offset in range(5000)]


def test_publish_wants_a_contract_a_topic_and_a_bearable_size(weir, events):
    done = weir("publish", "no.contract", input="x")
    assert done.returncode == 65 and "--raw" in done.stderr
    done = weir("publish", "no.contract", "--raw", input="x")
    assert done.returncode == 78 and "no.contract: unknown" in done.stderr
    done = weir("publish", "shelf-help.events", "--raw", input="x" * (2**20 + 1))
    assert done.returncode == 65 and "larger than 1048576 bytes" in done.stderr
    done = weir("publish", "shelf-help.events", "/no/such/file")
    assert done.returncode == 65 and "No such file" in done.stderr
    assert weir("publish", "shelf-help.events", "--header", "novalue").returncode == 64
    assert events.count("shelf-help.events") == 0


# dlq


def letter(offset, value=b"v", key=b"k", topic="a.in", partition=0, reason="/x: bad", fault="bad_input", **more):
    """A dead letter as the runtime writes it."""
    headers = [
        ("ce_id", f"id-{offset}".encode()),
        ("blank", None),
        ("weir_reason", reason.encode()),
        ("weir_fault", fault.encode()),
        ("weir_topic", topic.encode()),
        ("weir_partition", str(partition).encode()),
        ("weir_offset", str(offset).encode()),
        ("weir_attempts", b"1"),
        ("weir_service", b"a-writer"),
        ("weir_time", more.get("time", "2026-11-25T10:00:00.000Z").encode()),
        ("__connect.errors.topic", topic.encode()),
        ("__connect.errors.exception.message", reason.encode()),
    ]
    return (key, value, headers, more.get("place", 0))


@pytest.fixture
def dlq(bus):
    """dlq(letters, ...): fills a-writer.dlq; a.in is where letters come from."""
    bus.create({"a.in": 1, "b.in": 2, "a-writer.dlq": 2})
    return lambda *letters: bus.produce("a-writer.dlq", letters)


def ids(done):
    return [one["id"] for one in lines(ok(done))]


def test_ls_lists_counts_and_filters(weir, dlq):
    dlq(
        letter(5, reason="/a: missing", time="2026-11-25T10:00:00.000Z"),
        letter(9, reason="pg: 23503: constraint", key=b"k2", time="2026-11-25T11:00:00.500Z"),
        letter(7, topic="b.in", partition=1, fault="retry", time="2026-11-25T12:00:00.000Z", place=1),
    )
    out = ok(weir("dlq", "ls", "a-writer"))
    assert out.splitlines()[0].split() == ["0/0", "2026-11-25T10:00:00.000Z", "bad_input", "a.in/0/5", "/a:", "missing"]
    assert out.splitlines()[-1] == "3 open, 0 redriven, 0 purged"
    assert lines(ok(weir("dlq", "ls", "a-writer", "--json")))[2] == {
        "id": "1/0",
        "time": "2026-11-25T12:00:00.000Z",
        "fault": "retry",
        "reason": "/x: bad",
        "topic": "b.in",
        "partition": 1,
        "offset": 7,
        "state": "open",
    }

    def found(*filters):
        return ids(weir("dlq", "ls", "a-writer", "--json", *filters))

    assert found("--reason", "23503") == ["0/1"]
    assert found("--fault", "retry") == ["1/0"]
    assert found("--topic", "a.in") == ["0/0", "0/1"]
    assert found("--key", "k2") == ["0/1"]
    assert found("--since", "2026-11-25T11:00:00Z") == ["0/1", "1/0"]
    assert found("--until", "2026-11-25 11:00:00.500") == ["0/0"]
    assert found("--since", "2026-11-26") == []
    assert found("--limit", "2") == ["0/0", "0/1"]
    assert found("--topic", "a.in", "--reason", "missing") == ["0/0"]
    assert ok(weir("dlq", "ls", "a-writer", "--count")) == "3 open, 0 redriven, 0 purged\n"
    assert lines(ok(weir("dlq", "ls", "a-writer", "--count", "--json"))) == [{"open": 3, "redriven": 0, "purged": 0}]
    assert weir("dlq", "ls", "a-writer", "--since", "yesterday").returncode == 64


def test_ages_count_from_now(weir, dlq):
    now = time.time()

    def ago(seconds):
        return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(now - seconds))

    dlq(letter(1, time=ago(7200)), letter(2, time=ago(60)))
    assert ids(weir("dlq", "ls", "a-writer", "--json", "--since", "1h")) == ["0/1"]
    assert ids(weir("dlq", "ls", "a-writer", "--json", "--until", "30m")) == ["0/0"]


def test_letters_of_one_origin_are_one(weir, dlq, bus):
    dlq(letter(1), letter(2), letter(1), letter(1, place=1))
    assert ok(weir("dlq", "ls", "a-writer", "--count")) == "2 open, 0 redriven, 0 purged\n"
    assert ok(weir("dlq", "redrive", "a-writer")) == "2 redriven\n"
    assert [record.header("ce_id") for record in bus.read("a.in")] == ["id-1", "id-2"]
    assert ok(weir("dlq", "ls", "a-writer", "--count")) == "0 open, 2 redriven, 0 purged\n"
    assert ok(weir("dlq", "redrive", "a-writer")) == "0 redriven\n"
    dlq(letter(1))  # read and given up again later, by a group that was set back
    assert ok(weir("dlq", "ls", "a-writer", "--count")) == "1 open, 2 redriven, 0 purged\n"


def test_show_prints_headers_and_value(weir, dlq):
    dlq(letter(5, value='{"a":"ü\x1b[31m"}'.encode(), key=b"who"))
    out = ok(weir("dlq", "show", "a-writer", "0/0"))
    assert "key: who\n" in out and "weir_reason: /x: bad\n" in out and '{"a":"ü?[31m"}' in out
    assert ok(weir("dlq", "show", "a-writer", "0/0", "--value")) == '{"a":"ü\x1b[31m"}'
    [shown] = lines(ok(weir("dlq", "show", "a-writer", "0/0", "--json")))
    assert (shown["id"], shown["key"], shown["value"]) == ("0/0", "who", '{"a":"ü\x1b[31m"}')
    assert {"name": "blank", "value": None} in shown["headers"]
    for none in ("0/1", "1/0", "7/0"):
        assert weir("dlq", "show", "a-writer", none).returncode == 65
    assert weir("dlq", "show", "a-writer", "first").returncode == 64


def test_redrive_gives_the_record_back_as_it_was(weir, dlq, bus):
    dlq(letter(3, value=b"\x00\xff", key=b"\x01k"), letter(4, value=None), letter(5, value=b"", key=None))
    assert ok(weir("dlq", "redrive", "a-writer", "--json")) == '{"redriven":3,"failed":0,"kept":0}\n'
    first, second, third = bus.read("a.in")
    assert (first.key, first.value) == (b"\x01k", b"\x00\xff")
    assert first.headers == [("ce_id", b"id-3"), ("blank", None), ("weir_redriven", b"a-writer.dlq/0/0")]
    assert second.value is None and (third.key, third.value) == (None, b"")
    markers = bus.read("a-writer.dlq")[3:]
    assert [(marker.value, marker.headers) for marker in markers] == [
        (
            None,
            [
                ("weir_settled", b"redriven"),
                ("weir_topic", b"a.in"),
                ("weir_partition", b"0"),
                ("weir_offset", str(offset).encode()),
            ],
        )
        for offset in (3, 4, 5)
    ]


def test_redrive_keeps_the_order_of_origin_offsets(weir, dlq, bus):
    shuffled = [(7 * n) % 1000 for n in range(1000)]
    dlq(*(letter(n, key=f"k{n % 7}".encode(), place=n % 2) for n in shuffled))
    dlq(*(letter(n, topic="b.in", partition=1, key=None) for n in (3, 1, 2)))
    assert ok(weir("dlq", "redrive", "a-writer")) == "1003 redriven\n"
    assert [record.header("ce_id") for record in bus.read("a.in")] == [f"id-{n}" for n in range(1000)]
    back = bus.read("b.in")  # without a key they go to the partition they came from
    assert [(record.partition, record.header("ce_id")) for record in back] == [(1, "id-1"), (1, "id-2"), (1, "id-3")]
    assert ok(weir("dlq", "ls", "a-writer", "--all", "--count")) == "0 open, 1003 redriven, 0 purged\n"


def test_redrive_of_some(weir, dlq, bus):
    dlq(*(letter(n, reason=f"/r{n % 2}: bad") for n in range(6)))
    dry = ok(weir("dlq", "redrive", "a-writer", "--reason", "/r1", "--dry-run"))
    assert dry.splitlines()[-1] == "3 letters, left as they are" and len(dry.splitlines()) == 4
    assert bus.count("a.in") == 0
    assert ok(weir("dlq", "redrive", "a-writer", "--reason", "/r1", "--limit", "2")) == "2 redriven\n"
    assert [record.header("ce_id") for record in bus.read("a.in")] == ["id-1", "id-3"]
    assert ids(weir("dlq", "ls", "a-writer", "--json")) == ["0/0", "0/2", "0/4", "0/5"]
    states = [one["state"] for one in lines(ok(weir("dlq", "ls", "a-writer", "--json", "--all")))]
    assert states == ["open", "redriven", "open", "redriven", "open", "open"]


def test_redrive_at_a_rate(weir, dlq):
    dlq(*(letter(n) for n in range(30)))
    start = time.monotonic()
    assert ok(weir("dlq", "redrive", "a-writer", "--rate", "20")) == "30 redriven\n"
    assert 1.3 < time.monotonic() - start < 5


def test_redrive_leaves_what_cannot_go_back(weir, dlq, bus):
    bus.produce("a-writer.dlq", [(b"k", b"foreign", [("other", b"tool")])])
    dlq(letter(1))
    done = weir("dlq", "redrive", "a-writer")
    assert done.returncode == 65 and done.stdout == "1 redriven, 1 failed\n"
    assert "0/0: stays: its headers name no origin" in done.stderr or "1/0: stays" in done.stderr
    assert ok(weir("dlq", "ls", "a-writer", "--count")) == "1 open, 1 redriven, 0 purged\n"
    dlq(letter(2, topic="gone.in"))
    done = weir("dlq", "redrive", "a-writer", "--topic", "gone.in")
    assert done.returncode == 78 and "gone.in" in done.stderr


def test_redrive_that_is_stopped_loses_and_repeats_nothing(weir, dlq, bus):
    dlq(*(letter(n) for n in range(200)))
    env = {"WEIR_BROKERS": bus.brokers, "WEIR_NAMESPACE": bus.namespace}
    command = [BUILD / "bin" / "weir", "dlq", "redrive", "a-writer", "--rate", "50"]
    process = subprocess.Popen(command, env={**clean_environment(), **env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: bus.count("a.in") > 20, 10, "some are redriven")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 130 and "the rest stays open" in err
    moved = int(out.split()[0])
    assert 20 < moved < 200 and bus.count("a.in") == moved
    assert ok(weir("dlq", "redrive", "a-writer")) == f"{200 - moved} redriven\n"
    assert [record.header("ce_id") for record in bus.read("a.in")] == [f"id-{n}" for n in range(200)]


def test_purge_deletes_for_good(weir, dlq, bus):
    dlq(*(letter(n, value=b"personal") for n in range(4)), letter(9, place=1, reason="other"))
    dry = ok(weir("dlq", "purge", "a-writer", "--reason", "/x", "--dry-run"))
    assert dry.splitlines()[-1] == "4 letters, left as they are"
    assert ok(weir("dlq", "purge", "a-writer", "--reason", "/x")) == "4 purged\n"
    values = values_left(bus, "a-writer.dlq")
    assert b"personal" not in values and b"v" in values
    assert ok(weir("dlq", "ls", "a-writer", "--count")) == "1 open, 0 redriven, 0 purged\n"
    assert bus.count("a.in") == 0


def test_purge_keeps_open_letters_and_says_what_stays(weir, dlq, bus):
    dlq(letter(1, reason="keep"), letter(2, value=b"personal"), letter(3, reason="keep"))
    done = weir("dlq", "purge", "a-writer", "--reason", "/x")
    assert ok(done) == "1 purged\n" and "1 purged letters lie behind open ones" in done.stderr
    assert ids(weir("dlq", "ls", "a-writer", "--json")) == ["0/0", "0/2"]
    assert ok(weir("dlq", "ls", "a-writer", "--count")) == "2 open, 0 redriven, 1 purged\n"
    ok(weir("dlq", "redrive", "a-writer", "--limit", "1"))
    done = weir("dlq", "purge", "a-writer", "--reason", "nothing")
    assert ok(done) == "0 purged\n" and done.stderr == ""
    assert b"personal" not in values_left(bus, "a-writer.dlq")
    assert ids(weir("dlq", "ls", "a-writer", "--json")) == ["0/2"]


def values_left(bus, topic):
    """Of a topic whose beginning was deleted; the harness's reader begins at offset 0."""
    settings = {
        "bootstrap.servers": bus.brokers,
        "group.id": "reader",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
    }
    consumer = Consumer(settings)
    partitions = range(bus.topics[topic])
    consumer.assign([TopicPartition(bus.namespace + topic, n, OFFSET_BEGINNING) for n in partitions])
    values, ended = [], set()
    try:
        while len(ended) < len(partitions):
            for message in consumer.consume(1000, 1):
                if message.error():
                    assert message.error().code() == KafkaError._PARTITION_EOF
                    ended.add(message.partition())
                else:
                    values.append(message.value())
    finally:
        consumer.close()
    return values


def test_unknown_dead_letter_topic(weir):
    for arguments in ("ls", "redrive", "purge"):
        done = weir("dlq", arguments, "no-service")
        assert done.returncode == 78 and "no-service.dlq: unknown" in done.stderr
