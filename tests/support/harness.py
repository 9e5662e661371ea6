"""Real services on a real broker: start and end them, feed them, and see what comes of it.

    bus = Bus(brokers, "test-1.")
    bus.create({"shelf-help.events": 1, "shelf-help-writer.dlq": 1})
    with Service("shelf-help-writer", bus, {"SHELF_HELP_DATABASE_URL": dsn}) as writer:
        writer.wait_ready()
        bus.produce("shelf-help.events", [(b"key", b"value")])
        wait_for(lambda: bus.lag("shelf-help-writer", "shelf-help.events") == 0, 10, "no lag")

WEIR_BUILD names the directory of the binaries, "build" unless given: build/asan and build/tsan make the
same tests run under the sanitizers, whose reports fail the test.
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import requests
from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

ROOT = Path(__file__).parents[2]
BUILD = ROOT / os.environ.get("WEIR_BUILD", "build")
SANITIZED = BUILD.name in ("asan", "tsan")
# A thread that hangs is left behind by an end that is forced: no leak to be told.
SANITIZER_REPORT = re.compile(
    r"ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer: (?!thread leak)|runtime error:"
)


def wait_for(condition, timeout, what):
    """Looks again and again until condition() is true, and returns what it gave."""
    deadline = time.monotonic() + timeout * (3 if SANITIZED else 1)
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        time.sleep(0.02)
    return result


def insist(ask, refresh):
    """ask(), again while the broker is not quite there, each time after refresh(), as a client may hold on
    to what it knew before a restart. UnicodeDecodeError: it takes the metadata of an offset for a C string
    and reads on behind its end."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return ask()
        except (KafkaException, UnicodeDecodeError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
            refresh()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Record(NamedTuple):
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list  # of (name, bytes or None), in order

    def header(self, name):
        """The last header of that name as text, or None."""
        found = [value for key, value in self.headers if key == name]
        return found[-1].decode() if found else None

    @property
    def origin(self):
        """Of a dead letter: where the record was read."""
        names = ("weir_topic", "weir_partition", "weir_offset")
        return tuple(self.header(name) for name in names)


class Bus:
    """The topics of one namespace, named without it."""

    def __init__(self, brokers, namespace, idempotent=False):
        self.idempotent = idempotent  # its first record takes half a second longer
        self.brokers = brokers
        self.namespace = namespace
        self.admin = None
        self._new_admin()
        self.topics = {}  # those created here: name -> partitions
        self._producer = None

    def _new_admin(self):
        self.admin = AdminClient({"bootstrap.servers": self.brokers, "log_level": 0})

    def create(self, topics):
        """{name: partitions}, or {name: (partitions, {config: value})}."""
        new = []
        for name, spec in topics.items():
            partitions, config = spec if isinstance(spec, tuple) else (spec, {})
            self.topics[name] = partitions
            new.append(NewTopic(self.namespace + name, partitions, 1, config=config))
        for future in self.admin.create_topics(new).values():
            future.result(10)
        for name in topics:
            self.ends(name)  # has a leader
        return self

    def close(self):
        if self.topics:
            names = [self.namespace + name for name in self.topics]
            for future in self.admin.delete_topics(names).values():
                future.exception(10)
        groups = [
            group.group_id
            for group in self.admin.list_consumer_groups().result(10).valid
            if group.group_id.startswith(self.namespace)
        ]
        if groups:
            for future in self.admin.delete_consumer_groups(groups).values():
                future.exception(10)

    def _parts(self, topic, offset=0):
        return [
            TopicPartition(self.namespace + topic, partition, offset)
            for partition in range(self.topics[topic])
        ]

    # in

    def produce(self, topic, records):
        """(key, value), (key, value, headers) or (key, value, headers, partition) each; waits until all
        are there. Headers are a list of (name, bytes)."""
        if self._producer is None:
            self._producer = Producer(
                {
                    "bootstrap.servers": self.brokers,
                    "log_level": 0,
                    "linger.ms": 5,
                    "acks": "all",
                    "enable.idempotence": self.idempotent,
                    "queue.buffering.max.messages": 2_000_000,
                    "queue.buffering.max.kbytes": 1_000_000,
                    "partitioner": "murmur2_random",
                }
            )
        failures = []

        def report(error, _message):
            if error:
                failures.append(error)

        for number, (key, value, *rest) in enumerate(records):
            options = {"on_delivery": report}
            if rest and rest[0]:
                options["headers"] = rest[0]
            if len(rest) > 1:
                options["partition"] = rest[1]
            self._producer.produce(self.namespace + topic, value, key, **options)
            if number % 1000 == 0:
                self._producer.poll(0)
        assert self._producer.flush(60) == 0
        assert not failures, failures[0]

    # out

    def ends(self, topic):
        """Next offset by partition."""

        def ask():
            wanted = {part: OffsetSpec.latest() for part in self._parts(topic)}
            futures = self.admin.list_offsets(wanted).items()
            return {part.partition: future.result(10).offset for part, future in futures}

        return insist(ask, self._new_admin)

    def count(self, topic):
        """Records there, for topics that never lose any."""
        return sum(self.ends(topic).values())

    def reader(self, topic):
        return Reader(self, topic)

    def read(self, topic):
        """All records there are now."""
        reader = self.reader(topic)
        try:
            return list(reader.update())
        finally:
            reader.close()

    def committed(self, group, topic):
        """What the group has committed: {partition: (offset, metadata)}."""
        def ask():
            asked = ConsumerGroupTopicPartitions(self.namespace + group, self._parts(topic, -1001))
            [future] = self.admin.list_consumer_group_offsets([asked]).values()
            parts = [part for part in future.result(10).topic_partitions if part.offset >= 0]
            return {part.partition: (part.offset, part.metadata) for part in parts}

        return insist(ask, self._new_admin)

    def commit(self, group, topic, offsets):
        """Sets what a group without members has committed: {partition: offset}."""
        parts = [
            TopicPartition(self.namespace + topic, partition, offset)
            for partition, offset in offsets.items()
        ]
        asked = ConsumerGroupTopicPartitions(self.namespace + group, parts)
        [future] = self.admin.alter_consumer_group_offsets([asked]).values()
        future.result(10)

    def lag(self, group, topic):
        committed = self.committed(group, topic)
        ends = self.ends(topic).items()
        return sum(end - committed.get(partition, (0, None))[0] for partition, end in ends)

    def wait_done(self, group, topic, timeout):
        """Until all of the topic is finished and committed."""
        wait_for(lambda: self.lag(group, topic) == 0, timeout, f"{group} has done all of {topic}")


class Reader:
    """Follows a topic from its beginning, without a group."""

    def __init__(self, bus, topic):
        self.bus = bus
        self.topic = topic
        self.records = []
        self._consumer = Consumer(
            {
                "bootstrap.servers": bus.brokers,
                "log_level": 0,
                "group.id": "reader",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 20,
                "fetch.queue.backoff.ms": 5,
            }
        )
        self._consumer.assign(bus._parts(topic))
        self._next = defaultdict(int)

    def update(self):
        """Takes in all that is there now; returns .records."""
        ends = self.bus.ends(self.topic)
        while any(self._next[partition] < end for partition, end in ends.items()):
            for message in self._consumer.consume(10000, 0.05):
                if message.error():
                    raise KafkaException(message.error())
                self._next[message.partition()] = message.offset() + 1
                self.records.append(
                    Record(
                        message.partition(),
                        message.offset(),
                        message.key(),
                        message.value(),
                        message.headers() or [],
                    )
                )
        return self.records

    def wait_count(self, count, timeout):
        wait_for(
            lambda: self.bus.count(self.topic) >= count, timeout, f"{count} records in {self.topic}"
        )
        return self.update()

    def close(self):
        self._consumer.close()


class Service:
    """A service's process. Ends with the test, whose failure it is when a sanitizer has found something."""

    def __init__(self, name, bus, env=(), folder=None):
        self.name = name
        self.bus = bus
        self.env = {
            "WEIR_BROKERS": bus.brokers,
            "WEIR_NAMESPACE": bus.namespace,
            "WEIR_LOG": "info,json",
            "WEIR_KAFKA_SESSION_TIMEOUT_MS": "6000",
            "WEIR_KAFKA_HEARTBEAT_INTERVAL_MS": "500",
            **dict(env),
        }
        self.folder = folder
        self.log_file = None
        self.process = None
        self.port = None
        self.starts = 0
        self.start()

    @staticmethod
    def binary(name):
        """build/bin/NAME, or build/test/NAME of a test's own service."""
        for path in (BUILD / "bin" / name, BUILD / "test" / name.removeprefix("test-")):
            if path.exists():
                return path
        raise FileNotFoundError(f"{name} is not built in {BUILD}: make all test-bins")

    def start(self):
        """Once more, as a new process with a log of its own."""
        self.port = free_port()
        self.starts += 1
        self.log_file = self.folder / f"{self.name}-{id(self):x}-{self.starts}.log"
        with open(self.log_file, "wb") as log:
            self.process = subprocess.Popen(
                [self.binary(self.name)],
                env={**clean_environment(), **self.env, "WEIR_ADMIN_PORT": str(self.port)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self

    # its end

    def catches_signals(self):
        """Has it come so far in main() that SIGTERM no longer just ends it?"""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"SigBlk:\s+(\w+)", status)[1], 16) & 1 << signal.SIGTERM - 1

    def kill(self):
        self.process.kill()
        self.process.wait(10)

    def term(self):
        self.process.send_signal(signal.SIGTERM)

    def wait(self, timeout):
        return self.process.wait(timeout * (3 if SANITIZED else 1))

    def stop(self, timeout=10):
        """In good order: SIGTERM, exit status 0."""
        self.term()
        status = self.wait(timeout)
        self.check_sanitizer()
        assert status == 0, f"exit status {status}:\n{self.log_text()[-2000:]}"

    def check_sanitizer(self):
        text = self.log_text()
        assert not SANITIZER_REPORT.search(text), text[-20000:]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if SANITIZED and self.process.poll() is None:
            self.term()  # only an end in good order looks for leaks
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.wait(10)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        self.check_sanitizer()

    # what it says

    def log_text(self):
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def log(self, msg=None):
        """Its log lines so far, parsed; those with that "msg" only, if given."""
        lines = []
        for line in self.log_text().splitlines(keepends=True):
            if line.endswith("\n") and line.startswith("{"):
                lines.append(json.loads(line))
        return [line for line in lines if msg is None or line["msg"] == msg]

    def wait_log(self, msg, timeout=10, count=1):
        wait_for(lambda: len(self.log(msg)) >= count, timeout, f'log line "{msg}"')
        return self.log(msg)[-1]

    def get(self, path):
        """(status, body) of its admin port; (0, "") while nothing listens there."""
        try:
            answer = requests.get(f"http://127.0.0.1:{self.port}{path}", timeout=5)
            return answer.status_code, answer.text
        except requests.ConnectionError:
            return 0, ""

    def is_ready(self):
        assert self.process.poll() is None, f"has ended:\n{self.log_text()[-2000:]}"
        return self.get("/readyz")[0] == 200

    def wait_ready(self, timeout=20):
        wait_for(self.is_ready, timeout, f"{self.name} ready")
        return self

    def metrics(self):
        """{(name, labels as they stand): value}"""
        values = {}
        for line in self.get("/metrics")[1].splitlines():
            if not line.startswith("#"):
                series, value = line.rsplit(" ", 1)
                name, _, labels = series.partition("{")
                values[name, labels.rstrip("}")] = float(value)
        return values

    def metric(self, name, *labels):
        """The sum of the series of that name that have all these labels: 'outcome="done"'."""
        return sum(
            value
            for (series, have), value in self.metrics().items()
            if series == name and all(label in have for label in labels)
        )

    def ledger(self):
        """(received, {outcome: count} with "returned" and "in flight"), of one reading."""
        metrics = self.metrics()
        outcomes = defaultdict(int)
        received = 0
        for (name, labels), value in metrics.items():
            if name == "weir_records_received_total":
                received += int(value)
            elif name == "weir_records_finished_total":
                outcomes[re.search('outcome="(.*?)"', labels)[1]] += int(value)
            elif name == "weir_records_returned_total":
                outcomes["returned"] += int(value)
            elif name == "weir_in_flight_records":
                outcomes["in flight"] += int(value)
        return received, dict(outcomes)

    def rss_bytes(self, peak=True):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * int(re.search(r"VmHWM:\s+(\d+)" if peak else r"VmRSS:\s+(\d+)", status)[1])


def clean_environment():
    """Ours without what would configure a binary; a sanitizer's options stay."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("WEIR_", "SHELF_HELP_", "PG"))}


def run(name, *arguments, env=(), timeout=30):
    """A binary from start to end: its subprocess.CompletedProcess, output as text."""
    return subprocess.run(
        [Service.binary(name), *arguments],
        env={**clean_environment(), **dict(env)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
