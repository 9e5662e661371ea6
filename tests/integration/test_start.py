"""The command line and the options of a service, as an operator meets them."""

import json
import re

import pytest

from support.harness import run

pytestmark = pytest.mark.timeout(60)

GOOD = {
    "WEIR_BROKERS": "127.0.0.1:1",
    "SHELF_HELP_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none?connect_timeout=2",
}

# what is set, or None to leave it out; what the one line says
BAD_OPTIONS = {
    "missing broker": ({"WEIR_BROKERS": None}, "WEIR_BROKERS"),
    "missing database": ({"SHELF_HELP_DATABASE_URL": None}, "SHELF_HELP_DATABASE_URL"),
    "empty is missing": ({"SHELF_HELP_DATABASE_URL": ""}, "SHELF_HELP_DATABASE_URL"),
    "unknown, with the nearest": ({"WEIR_CONCURENCY": "4"}, "WEIR_CONCURENCY.*WEIR_CONCURRENCY"),
    "not a number": ({"WEIR_CONCURRENCY": "many"}, "WEIR_CONCURRENCY"),
    "out of bounds": ({"WEIR_ADMIN_PORT": "65536"}, "WEIR_ADMIN_PORT"),
    "not a time": ({"WEIR_DRAIN_MS": "2 weeks"}, "WEIR_DRAIN_MS"),
    "not a size": ({"WEIR_IN_FLIGHT_BYTES": "1 elephant"}, "WEIR_IN_FLIGHT_BYTES"),
    "not a level": ({"WEIR_LOG": "loud"}, "WEIR_LOG"),
    "no such file": ({"SHELF_HELP_DATABASE_URL": None, "SHELF_HELP_DATABASE_URL_FILE": "/no/file"},
                     "SHELF_HELP_DATABASE_URL_FILE"),
    "both": ({"SHELF_HELP_DATABASE_URL_FILE": "/dev/null"}, "SHELF_HELP_DATABASE_URL"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_a_bad_option_is_one_line_and_status_78(case):
    changes, says = BAD_OPTIONS[case]
    env = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    done = run("shelf-help-writer", env=env)
    assert done.returncode == 78
    assert re.match(rf"shelf-help-writer: .*{says}.*\n\Z", done.stderr), done.stderr
    assert "nobody@" not in done.stderr


@pytest.mark.parametrize(
    "env, says",
    [
        ({"WEIR_KAFKA_SECURITY_PROTOCOL": "NONSENSE"}, "WEIR_KAFKA_SECURITY_PROTOCOL"),
        ({"WEIR_KAFKA_NO_SUCH_PROPERTY": "1"}, "WEIR_KAFKA_NO_SUCH_PROPERTY"),
        ({"SHELF_HELP_DATABASE_URL": "no-such-parameter=secret"}, "SHELF_HELP_DATABASE_URL"),
    ],
)
def test_what_only_a_library_can_judge_stops_the_start_too(env, says, brokers):
    env = {**GOOD, "WEIR_BROKERS": brokers, "WEIR_LOG": "error,json", **env}
    done = run("shelf-help-writer", env=env)
    [line] = [json.loads(line) for line in done.stderr.splitlines()]
    assert says in line["reason"]
    assert "secret" not in done.stderr
    assert done.returncode == 78


@pytest.mark.parametrize("arguments", [["--frobnicate"], ["--help", "--version"], ["run"], [""]])
def test_a_bad_command_line_is_usage_and_status_64(arguments):
    done = run("shelf-help-writer", *arguments, env=GOOD)
    assert done.returncode == 64
    assert done.stderr.startswith("usage: shelf-help-writer")
    assert done.stdout == ""


def test_help_version_and_describe_need_no_options():
    text = run("shelf-help-writer", "--help")
    assert text.returncode == 0 and text.stderr == ""
    for name in ("SHELF_HELP_DATABASE_URL", "WEIR_BROKERS", "WEIR_KAFKA_", "shelf-help.events"):
        assert name in text.stdout
    version = run("shelf-help-writer", "--version")
    assert (version.returncode, version.stdout.split()[0]) == (0, "shelf-help-writer")
    described = json.loads(run("shelf-help-writer", "--describe").stdout)
    assert [route["topic"] for route in described["routes"]] == ["shelf-help.events"]
    assert described["dead_letters"] == "shelf-help-writer.dlq"
    [url] = [
        option for option in described["options"] if option["name"] == "SHELF_HELP_DATABASE_URL"
    ]
    assert url["secret"] and url["required"]


def test_check_says_what_is_missing(bus, brokers, tables):
    env = {"WEIR_BROKERS": brokers, "WEIR_NAMESPACE": bus.namespace, "SHELF_HELP_DATABASE_URL": tables}
    done = run("shelf-help-writer", "--check", env=env)
    assert done.returncode == 69
    assert "shelf-help.events: missing" in done.stderr
    bus.create({"shelf-help.events": 1, "shelf-help-writer.dlq": 1})
    done = run("shelf-help-writer", "--check", env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, "shelf-help-writer: ok\n", "")
    done = run("shelf-help-writer", "--check", env=GOOD)
    assert done.returncode == 69
    assert len(done.stderr.splitlines()) == 2  # broker and database
    assert "SHELF_HELP_DATABASE_URL" in done.stderr


def test_a_secret_comes_from_a_file(bus, brokers, tables, tmp_path):
    (tmp_path / "url").write_text(tables + "\n")
    bus.create({"shelf-help.events": 1, "shelf-help-writer.dlq": 1})
    env = {
        "WEIR_BROKERS": brokers,
        "WEIR_NAMESPACE": bus.namespace,
        "SHELF_HELP_DATABASE_URL_FILE": str(tmp_path / "url"),
    }
    assert run("shelf-help-writer", "--check", env=env).returncode == 0


def test_a_sister_services_option_is_only_warned_about(bus, start_writer):
    writer = start_writer(SHELF_HELP_DASHBOARD_PORT="8080").wait_ready()
    assert any("SHELF_HELP_DASHBOARD_PORT" in line["msg"] for line in writer.log())
    writer.stop()
