"""PostgreSQL or Kafka stopped for 20 s under load, and COMMITs whose answer is cut off: every event is stored
exactly once, nothing becomes a dead letter, and nobody has to help."""

import json
import threading
import time
import uuid

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from support.fixtures import PROBE_TOPICS, WRITER_TOPICS
from support.harness import Bus, wait_for
from support.proxy import Proxy
from support.shelf_help_events import Mix, generate
from support.shelf_help_model import Model, diff, read_database

pytestmark = pytest.mark.timeout(240)

EVENTS, LETTERS, WRITER = "shelf-help.events", "shelf-help-writer.dlq", "shelf-help-writer"
AWAY_S = 20
COUNT = 20_000
QUICK = {"WEIR_COMMIT_MS": "50", "WEIR_BACKOFF_MAX_MS": "1s"}


class Load:
    """Events at a steady pace from a thread of its own; the model of what they must give."""

    def __init__(self, bus, count, seconds):
        self.bus = bus
        self.records = list(generate(count, seed=count, mix=Mix(redelivered=0.02)))
        self.model = Model().feed_all(value for _, value, _ in self.records)
        self.pause_s = 100 * seconds / count
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        for start in range(0, len(self.records), 100):
            self.bus.produce(EVENTS, [record[:2] for record in self.records[start : start + 100]])
            time.sleep(self.pause_s)

    def check(self, dsn):
        """All there, each once."""
        self.thread.join(120)
        assert self.bus.count(EVENTS) == len(self.records)
        self.bus.wait_done(WRITER, EVENTS, 60)
        assert diff(self.model.rows, read_database(dsn)) == []
        assert self.bus.count(LETTERS) == 0


def test_kafka_then_postgres_stopped_under_load(own_stack, services):
    """20 s without Kafka, then 20 s without PostgreSQL. A probe beside the writer has messages on their way
    that are not delivered in time: they are sent again."""
    bus = Bus(own_stack.brokers, f"test-{uuid.uuid4().hex[:12]}.", idempotent=True)
    bus.create({**WRITER_TOPICS, **PROBE_TOPICS})
    probe = services("test-probe", bus, {**QUICK, "WEIR_KAFKA_MESSAGE_TIMEOUT_MS": "2000"}).wait_ready()
    numbers = list(range(50_000))
    bus.produce("test-probe.ordered", [(b"%d" % (n % 50), b'{"n":%d}' % n) for n in numbers])
    dsn = own_stack.database()
    writer = services(WRITER, bus, {"SHELF_HELP_DATABASE_URL": dsn, **QUICK})
    writer.wait_ready()
    load = Load(bus, COUNT, 40)
    wait_for(lambda: bus.lag(WRITER, EVENTS) < bus.count(EVENTS), 20, "events are stored")

    for server, says in (("kafka", "kafka: unreachable, waiting"), ("postgres", "paused: a dependency is away")):
        own_stack.run("down", server)
        writer.wait_log(says)
        assert writer.get("/readyz")[0] == 503
        assert writer.get("/healthz")[0] == 200
        time.sleep(AWAY_S)
        assert len(writer.log(says)) < 60  # it does not flood the log
        own_stack.run("up", server)
        wait_for(writer.is_ready, 30, f"ready again after {server} was away")

    load.check(dsn)
    writer.stop()
    assert probe.log("not delivered, will be sent again")
    bus.wait_done("test-probe", "test-probe.ordered", 60)
    out = {record.header("ce_id"): json.loads(record.value)["n"] for record in bus.read("test-probe.out")}
    assert sorted(out.values()) == numbers
    assert bus.count("test-probe.dlq") == 0
    probe.stop()


def test_postgres_crashes_under_load(own_stack, services):
    bus = Bus(own_stack.brokers, f"test-{uuid.uuid4().hex[:12]}.", idempotent=True)
    bus.create(WRITER_TOPICS)
    dsn = own_stack.database()
    writer = services(WRITER, bus, {"SHELF_HELP_DATABASE_URL": dsn, **QUICK})
    writer.wait_ready()
    load = Load(bus, COUNT, 5)
    for _ in range(2):
        seen = bus.committed(WRITER, EVENTS)
        wait_for(lambda: bus.committed(WRITER, EVENTS) != seen, 20, "events are stored")
        own_stack.run("kill", "postgres")
        own_stack.run("up", "postgres")
    load.check(dsn)
    writer.stop()


@pytest.mark.parametrize("after", [True, False], ids=["answer lost", "commit lost"])
def test_a_commit_cut_off_is_stored_exactly_once(bus, start_writer, tables, after):
    at = conninfo_to_dict(tables)
    with Proxy(at["host"], int(at["port"]), postgres=True) as proxy:
        url = make_conninfo(tables, port=proxy.port)
        writer = start_writer(SHELF_HELP_DATABASE_URL=url, WEIR_BACKOFF_MAX_MS="200", WEIR_BATCH_MAX="500")
        writer.wait_ready()
        load = Load(bus, 20_000, 4)
        for cut in range(1, 11):
            proxy.cut_commit(after)
            wait_for(lambda: proxy.cuts == cut, 20, "a commit was cut off")
        load.check(tables)
        assert writer.metric("weir_failures_total", "try_later") >= 10
        if after:  # they were found stored, not stored again
            duplicates = writer.metric("weir_records_finished_total", "duplicate")
            assert duplicates > len(load.model.duplicates)
        writer.stop()


def test_a_database_that_stalls_is_left_and_found_again(bus, start_writer, tables):
    """No reset, no answer: what a firewall does to an old connection."""
    at = conninfo_to_dict(tables)
    with Proxy(at["host"], int(at["port"]), postgres=True) as proxy:
        url = make_conninfo(tables, port=proxy.port)
        writer = start_writer(
            SHELF_HELP_DATABASE_URL=url,
            SHELF_HELP_DATABASE_TIMEOUT_MS="500",
            WEIR_BACKOFF_MAX_MS="200",
        ).wait_ready()
        load = Load(bus, 5_000, 2)
        wait_for(lambda: bus.committed(WRITER, EVENTS), 20, "events are stored")
        proxy.stall()
        wait_for(lambda: writer.metric("weir_breaker_open") == 1, 20, "it noticed")
        proxy.forward()
        load.check(tables)
        writer.stop()
