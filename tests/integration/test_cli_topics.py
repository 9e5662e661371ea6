"""weir topics, lag and describe, and what every command answers, against a real Kafka."""

import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
)
from support.harness import BUILD, ROOT, run

SPEC = """
asyncapi: 3.0.0
info: {{title: test, version: '1'}}
channels:
  a-events:
    address: a.events
    bindings:
      kafka:
        partitions: {partitions}
        replicas: 1
        topicConfiguration:
          cleanup.policy: [compact, delete]
          retention.ms: {retention}
  a-dlq:
    address: a.dlq
    bindings:
      kafka: {{topic: a.dlq}}
  http-only:
    address: /somewhere
"""


@pytest.fixture
def weir(bus):
    """weir(arguments ...) in the test's namespace."""

    def call(*arguments, env=(), **options):
        own = {"WEIR_BROKERS": bus.brokers, "WEIR_NAMESPACE": bus.namespace, **dict(env)}
        return run("weir", *map(str, arguments), env=own, **options)

    return call


@pytest.fixture
def spec(tmp_path, bus):
    """spec(partitions, retention): a file of two topics, which the test's end removes."""

    def make(partitions=2, retention=3600000):
        path = tmp_path / "asyncapi.yaml"
        path.write_text(SPEC.format(partitions=partitions, retention=retention))
        bus.topics.update({"a.events": partitions, "a.dlq": 1})
        return path

    return make


def ok(done):
    assert done.returncode == 0, done.stderr
    return done.stdout


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def configs(bus, topic):
    resource = ConfigResource(ConfigResource.Type.TOPIC, bus.namespace + topic)
    [future] = bus.admin.describe_configs([resource]).values()
    entries = future.result(10).items()
    own = ConfigSource.DYNAMIC_TOPIC_CONFIG.value
    return {name: entry.value for name, entry in entries if entry.source == own}


def test_apply_makes_the_topics_and_then_nothing(weir, spec, bus):
    path = spec()
    out = ok(weir("topics", "apply", "--spec", path))
    assert out == "a.dlq: created, 1 partition\na.events: created, 2 partitions\n"
    assert configs(bus, "a.events") == {"cleanup.policy": "compact,delete", "retention.ms": "3600000"}
    assert ok(weir("topics", "apply", "--spec", path)) == "2 topics are as the file says\n"
    assert ok(weir("topics", "diff", "--spec", path)) == ""
    assert lines(ok(weir("topics", "ls", "--json"))) == [
        {"topic": "a.dlq", "partitions": 1, "replicas": 1},
        {"topic": "a.events", "partitions": 2, "replicas": 1},
    ]
    assert "a.events" in ok(weir("topics", "ls")) and bus.namespace not in ok(weir("topics", "ls"))


def test_diff_names_what_differs_and_exits_1(weir, spec):
    missing = weir("topics", "diff", "--spec", spec(), "--json")
    assert missing.returncode == 1
    assert [(one["topic"], one["what"]) for one in lines(missing.stdout)] == [("a.dlq", "topic"), ("a.events", "topic")]
    ok(weir("topics", "apply", "--spec", spec()))
    differs = weir("topics", "diff", "--spec", spec(3, 7200000))
    assert differs.returncode == 1
    assert differs.stdout == (
        "a.events: partitions: 2, wanted 3\na.events: retention.ms: 3600000, wanted 7200000\n"
    )


def test_apply_grows_and_alters_and_keeps_other_values(weir, spec, bus):
    ok(weir("topics", "apply", "--spec", spec()))
    entry = ConfigEntry("segment.ms", "60000", incremental_operation=AlterConfigOpType.SET)
    other = ConfigResource(
        ConfigResource.Type.TOPIC, bus.namespace + "a.events", incremental_configs=[entry]
    )
    [future] = bus.admin.incremental_alter_configs([other]).values()
    future.result(10)
    done = weir("topics", "apply", "--spec", spec(3, 7200000))
    assert "partitions: 2 -> 3" in ok(done) and "retention.ms: 3600000 -> 7200000" in done.stdout
    assert "keys move" in done.stderr
    assert configs(bus, "a.events") == {
        "cleanup.policy": "compact,delete",
        "retention.ms": "7200000",
        "segment.ms": "60000",
    }
    assert ok(weir("topics", "diff", "--spec", spec(3, 7200000))) == ""


def test_apply_never_shrinks_and_never_deletes(weir, spec, bus):
    bus.create({"b.other": 1})
    ok(weir("topics", "apply", "--spec", spec(3)))
    done = weir("topics", "apply", "--spec", spec(1))
    assert done.returncode == 0 and "can't be taken away" in done.stderr
    bus.topics["a.events"] = 3
    found = {one["topic"]: one["partitions"] for one in lines(ok(weir("topics", "ls", "--json")))}
    assert found == {"a.dlq": 1, "a.events": 3, "b.other": 1}
    assert weir("topics", "diff", "--spec", spec(1)).returncode == 1
    bus.topics["a.events"] = 3


def test_refused_by_the_broker_is_named(weir, spec, bus):
    path = spec(retention="soon")
    done = weir("topics", "apply", "--spec", path)
    assert done.returncode == 65 and "retention.ms" in done.stderr


def test_spec_comes_from_option_environment_or_tree(weir, bus, spec, tmp_path):
    bus.topics.update({"shelf-help.events": 1, "shelf-help-writer.dlq": 1})
    ok(weir("topics", "apply", env={"WEIR_SPEC": str(ROOT / "proto" / "asyncapi.yaml")}))
    assert configs(bus, "shelf-help.events")["retention.ms"] == "604800000"
    assert configs(bus, "shelf-help-writer.dlq")["retention.ms"] == "2592000000"
    done = weir("topics", "diff", "--spec", tmp_path / "none.yaml")
    assert done.returncode == 78 and "none.yaml" in done.stderr
    broken = spec()
    broken.write_text(broken.read_text().replace("partitions: 2", "partitions: many"))
    done = weir("topics", "diff", "--spec", broken)
    assert done.returncode == 78 and "a.events: partitions" in done.stderr


def test_lag_counts_records_and_seconds(weir, bus):
    bus.create({"a.events": 2})
    bus.produce("a.events", [(b"k", b"v", None, 0)] * 7)
    consumer_commits(bus, "a-writer", "a.events", 0, 4)
    time.sleep(1)
    [one] = lines(ok(weir("lag", "a-writer", "--json")))
    assert {**one, "lag_seconds": 0} == {
        "group": "a-writer",
        "topic": "a.events",
        "partition": 0,
        "committed": 4,
        "end": 7,
        "lag": 3,
        "lag_seconds": 0,
    }
    assert 1 <= one["lag_seconds"] < 60
    consumer_commits(bus, "a-writer", "a.events", 0, 7)
    consumer_commits(bus, "b-writer", "a.events", 1, 0)
    everyone = lines(ok(weir("lag", "--json")))
    assert [(one["group"], one["partition"], one["lag"], one["lag_seconds"]) for one in everyone] == [
        ("a-writer", 0, 0, 0),
        ("b-writer", 1, 0, 0),
    ]
    assert "a-writer" in ok(weir("lag"))
    assert "has committed nothing" in weir("lag", "nobody").stderr


def consumer_commits(bus, group, topic, partition, offset):
    wanted = ConsumerGroupTopicPartitions(
        bus.namespace + group, [TopicPartition(bus.namespace + topic, partition, offset)]
    )
    [future] = bus.admin.alter_consumer_group_offsets([wanted]).values()
    future.result(10)


COMMANDS = ("topics", "publish", "migrate", "lag", "dlq", "describe")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_and_wrong_command_lines(command):
    helped = run("weir", command, "--help")
    assert helped.returncode == 0 and helped.stdout.startswith(f"usage: weir {command}")
    assert run("weir", "help", command).stdout == helped.stdout
    wrong = run("weir", command, "--no-such-option", env={"WEIR_BROKERS": "127.0.0.1:1"})
    assert wrong.returncode == 64 and wrong.stdout == ""
    assert f"usage: weir {command}" in wrong.stderr
    many = run("weir", command, *"abcde", env={"WEIR_BROKERS": "127.0.0.1:1"})
    assert many.returncode == 64 and f"usage: weir {command}" in many.stderr


def test_help_names_every_command():
    helped = run("weir", "help")
    assert helped.returncode == 0 and all(f"\n  {command} " in helped.stdout for command in COMMANDS)
    assert run("weir", "--help").stdout == helped.stdout
    nothing = run("weir")
    assert nothing.returncode == 64 and nothing.stderr == helped.stdout
    unknown = run("weir", "frobnicate")
    assert unknown.returncode == 64 and "unknown command 'frobnicate'" in unknown.stderr
    assert run("weir", "--version").stdout.startswith("weir ")


def test_no_broker_configured():
    for arguments in ("topics ls", "lag", "dlq ls x", "dlq show x 0/0"):
        done = run("weir", *arguments.split())
        assert done.returncode == 78 and "WEIR_BROKERS" in done.stderr


def test_no_broker_there():
    """All at once, as each waits for ten seconds."""
    away = "--brokers 127.0.0.1:1"
    lines_ = (
        f"topics ls {away}",
        f"topics apply {away}",
        f"{away} lag",
        f"lag group {away}",
        f"dlq ls x {away}",
        f"dlq show x 0/0 {away}",
        f"publish x --raw {away}",
    )
    with ThreadPoolExecutor(len(lines_)) as pool:
        for line, done in zip(lines_, pool.map(lambda line: run("weir", *line.split()), lines_)):
            assert done.returncode == 69, line
            assert len(done.stderr.splitlines()) == 1, line


def test_wrong_kafka_property_is_named():
    done = run("weir", "topics", "ls", env={"WEIR_BROKERS": "127.0.0.1:1", "WEIR_KAFKA_NO_SUCH": "1"})
    assert done.returncode == 78 and "WEIR_KAFKA_NO_SUCH" in done.stderr


def test_full_output_is_an_error(weir, bus, spec):
    ok(weir("topics", "apply", "--spec", spec()))
    env = {**os.environ, "WEIR_BROKERS": bus.brokers, "WEIR_NAMESPACE": bus.namespace}
    with open("/dev/full", "w") as full:
        done = subprocess.run([BUILD / "bin" / "weir", "topics", "ls"], env=env, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 74


@pytest.mark.skipif(not (BUILD / "bin" / "shelf-help-writer").exists(), reason="the writer is not built")
def test_describe_finds_services_and_runs_nothing_else():
    one = json.loads(ok(run("weir", "describe", "shelf-help-writer")))
    assert "shelf-help.events" in json.dumps(one)
    assert json.loads(ok(run("weir", "describe", BUILD / "bin" / "shelf-help-writer"))) == one
    assert "shelf-help-writer" in ok(run("weir", "describe"))
    assert run("weir", "describe", "no-such-service").returncode == 69
