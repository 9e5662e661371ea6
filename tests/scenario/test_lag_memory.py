"""Memory stays flat however far behind a service is: 1,000,000 small records wait for the probe, 300,000 events
for the writer. Run with -s to see the peaks."""

import pytest

from support.harness import SANITIZED, wait_for
from support.shelf_help_events import Mix, generate

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(SANITIZED, reason="sanitizers need memory of their own"),
]

MIB = 1024 * 1024


def peaks(service, done, total):
    """Peak memory when a fifth is done, and when all is."""
    wait_for(lambda: done() > total / 5, 120, "a fifth is done")
    early = service.rss_bytes()
    wait_for(lambda: done() >= total, 240, "all is done")
    late = service.rss_bytes()
    print(f"\n{service.name}: peak {early / MIB:.1f} MiB after a fifth, {late / MIB:.1f} MiB after all")
    return early, late


@pytest.mark.parametrize("topic", ["test-probe.ordered", "test-probe.batch"])
def test_a_million_records_behind(bus, start_probe, topic):
    total = 1_000_000 if topic == "test-probe.ordered" else 300_000
    probe = start_probe().wait_ready()
    probe.stop()
    values = [(b"key%d" % n, b'{"do":"drop"}') for n in range(1000)]
    bus.produce(topic, values * (total // 1000))
    probe.start()
    outcome = f'topic="{topic}",outcome="done"'
    early, late = peaks(
        probe, lambda: probe.metrics().get(("weir_records_finished_total", outcome), 0), total
    )
    assert late < 64 * MIB
    assert late - early < 6 * MIB


def test_the_writer_three_hundred_thousand_events_behind(bus, start_writer):
    total, distinct = 300_000, 10_000
    records = list(generate(distinct, seed=9, mix=Mix(shelf_share=0.5, books_per_search=4)))
    writer = start_writer().wait_ready()
    writer.stop()
    for turn in range(total // distinct):
        ids = [meta.message_id for _, _, meta in records]
        bus.produce(
            "shelf-help.events",
            [
                (key, value.replace(old.encode(), b"%d-%d" % (turn, n)))
                for n, ((key, value, _), old) in enumerate(zip(records, ids))
            ],
        )
    writer.start()
    done = 'topic="shelf-help.events",outcome="done"'
    early, late = peaks(
        writer, lambda: writer.metrics().get(("weir_records_finished_total", done), 0), total
    )
    assert late < 64 * MIB
    assert late - early < 6 * MIB
