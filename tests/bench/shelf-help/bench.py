"""shelf-help-writer next to a plain Python consumer: the same topic, broker, PostgreSQL and machine, in one run.

    make bench                                         200,000 events
    .venv/bin/python tests/bench/shelf-help/bench.py COUNT

The topic has one partition and is filled first: half shelf searches with 4 books of a pool of 20,000, half library
searches. fsync stays on. Each consumer gets a fresh database, and is timed from its start until the last
event is stored. Quote the ratio; the figures themselves belong to the machine.
"""
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psycopg
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests"))
from support.shelf_help_events import Mix, generate  # noqa: E402

STACK = ROOT / "deploy/local/stack"
WRITER = ROOT / "build/bin/shelf-help-writer"
PLAIN = Path(__file__).with_name("plain_worker.py")
MIX = Mix(shelf_share=0.5, books_per_search=4, book_pool=20000, hostile=0.0)


def environment():
    for line in subprocess.run([STACK, "env"], capture_output=True, text=True, check=True).stdout.splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        os.environ.setdefault(name, value.strip("'\""))


def fill(brokers, topic, count):
    admin = AdminClient({"bootstrap.servers": brokers})
    names = [topic, topic.replace("shelf-help.events", "shelf-help-writer.dlq")]
    for done in admin.create_topics([NewTopic(name, 1, 1) for name in names]).values():
        done.result()
    producer = Producer({"bootstrap.servers": brokers, "linger.ms": 20})
    for key, value, _ in generate(count, seed=7, mix=MIX):
        while True:
            try:
                producer.produce(topic, value=value, key=key)
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush()


def fresh_database(url, name):
    admin = url.replace("//weir@", "//postgres@").rsplit("/", 1)[0] + "/postgres"
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f'create database "{name}" owner weir')
    database = url.rsplit("/", 1)[0] + "/" + name
    subprocess.run(
        [ROOT / "build/bin/weir", "migrate", "up", ROOT / "services/shelf-help-writer/migrations", "--url", database],
        check=True, capture_output=True,
    )
    return admin, database


def drop_database(admin, name):
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f'drop database "{name}" with (force)')


def stored(database):
    with psycopg.connect(database) as connection:
        return connection.execute("select count(*) from shelf_help_messages").fetchone()[0]


def peak_rss_mib(pid):
    """VmHWM: what wait4 reports would count the memory of this process before exec too."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0.0)


def run(command, database, count, env):
    """Seconds until all is stored, then CPU seconds and peak RSS of the process."""
    started, rss = time.monotonic(), 0.0
    process = subprocess.Popen(
        command, env={**os.environ, **env, "SHELF_HELP_DATABASE_URL": database},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )
    with psycopg.connect(database, autocommit=True) as connection:
        # The sequences are cheap to ask; the exact count is asked for near the end only.
        while True:
            seen = connection.execute(
                "select (select last_value from shelf_searches_shelf_search_id_seq)"
                " + (select last_value from library_searches_library_search_id_seq)"
            ).fetchone()[0]
            rss = max(rss, peak_rss_mib(process.pid))
            if seen >= count * 0.98 and stored(database) >= count:
                break
            if process.poll() is not None and stored(database) < count:
                sys.exit(f"bench: {command[0]} ended early: {process.stderr.read().decode()[-2000:]}")
            time.sleep(0.05)
    seconds = time.monotonic() - started
    if process.poll() is None and command[0] == WRITER:
        process.send_signal(signal.SIGTERM)
    _, _, usage = os.wait4(process.pid, 0)
    return seconds, usage.ru_utime + usage.ru_stime, rss


def main(count):
    started_stack = subprocess.run([STACK, "status"], capture_output=True).returncode != 0
    if started_stack:
        subprocess.run([STACK, "up"], check=True)
    environment()
    mark = "bench" + uuid.uuid4().hex[:8]
    topic = f"{mark}.shelf-help.events"
    print(f"filling {topic} with {count} events ...", flush=True)
    fill(os.environ["WEIR_BROKERS"], topic, count)
    contenders = {
        "shelf-help-writer": ([WRITER], {"WEIR_NAMESPACE": f"{mark}.", "WEIR_LOG": "error"}),
        "plain Python": ([sys.executable, PLAIN, topic, str(count)], {}),
    }
    rates = {}
    print(f"{'':20}{'events/s':>10}{'seconds':>9}{'CPU s':>8}{'RSS MiB':>9}")
    for name, (command, env) in contenders.items():
        admin, database = fresh_database(os.environ["SHELF_HELP_DATABASE_URL"], f"{mark}_{len(rates)}")
        seconds, cpu, rss = run(command, database, count, env)
        rates[name] = count / seconds
        print(f"{name:20}{count / seconds:10.0f}{seconds:9.1f}{cpu:8.1f}{rss:9.0f}", flush=True)
        drop_database(admin, f"{mark}_{len(rates) - 1}")
    print(f"ratio {rates['shelf-help-writer'] / rates['plain Python']:.2f}")
    admin = AdminClient({"bootstrap.servers": os.environ["WEIR_BROKERS"]})
    admin.delete_topics([topic])[topic].result()
    if started_stack:
        subprocess.run([STACK, "down"], check=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)
