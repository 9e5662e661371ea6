"""Every service's --describe agrees with proto/asyncapi.yaml, with its directory and with the README."""
import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / os.environ.get("WEIR_BUILD", "build")
SERVICES = sorted(path.parent.name for path in (ROOT / "services").glob("*/service.c"))
CHANNELS = {
    channel.get("address", name): channel
    for name, channel in yaml.safe_load((ROOT / "proto/asyncapi.yaml").read_text())["channels"].items()
}


def describe(name):
    return json.loads(subprocess.run([BUILD / "bin" / name, "--describe"], capture_output=True, check=True).stdout)


def test_there_are_services():
    assert SERVICES


@pytest.mark.parametrize("name", SERVICES)
def test_topics_are_channels(name):
    told = describe(name)
    assert told["name"] == name
    topics = [route["topic"] for route in told["routes"]] + told["outputs"] + [told["dead_letters"]]
    if any(route["retry"] == "topics" for route in told["routes"]):
        topics += [f"{name}.retry.{wait}" for wait in ("10s", "1m", "10m")]
    assert [topic for topic in topics if topic not in CHANNELS] == []


@pytest.mark.parametrize("name", SERVICES)
def test_options_are_documented(name):
    own = [option["name"] for option in describe(name)["options"]]
    readme = (ROOT / "services" / name / "README.md").read_text()
    assert [option for option in own if option not in readme] == []


@pytest.mark.parametrize("name", SERVICES)
def test_secrets_have_no_shown_value(name):
    for option in describe(name)["options"]:
        if option.get("secret"):
            assert option.get("default") in (None, "")


@pytest.mark.parametrize("name", SERVICES)
def test_the_readme_names_the_service(name):
    assert name in (ROOT / "README.md").read_text()


def test_every_channel_has_a_user():
    used = set()
    for name in SERVICES:
        told = describe(name)
        used |= {route["topic"] for route in told["routes"]} | set(told["outputs"]) | {told["dead_letters"]}
        used |= {f"{name}.retry.{wait}" for wait in ("10s", "1m", "10m")}
    assert [topic for topic in CHANNELS if topic not in used] == []
