"""The schemas of proto/ agree with its field tables: every good sample is valid, every bad one is not.

test_proto_samples.c says the same of the tables, so the two can't drift apart unnoticed on what a sample
shows. The file of topics is checked as well: what it refers to must exist.
"""

import json
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

PROTO = Path(__file__).parents[2] / "proto"
SHELF_HELP = PROTO / "shelf-help"
SAMPLES = SHELF_HELP / "samples"
SCHEMAS = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in SHELF_HELP.glob("*.schema.json")}
REGISTRY = Registry().with_resources((name, Resource.from_contents(schema)) for name, schema in SCHEMAS.items())
BY_TYPE = {"SHELFSEARCH": "shelf-search.schema.json", "LIBRARYSEARCH": "library-search.schema.json"}


def validate(name, instance):
    Draft202012Validator(SCHEMAS[name], registry=REGISTRY).validate(instance)


def strict_json(data):
    """JSON as the records must have it: no U+0000, no lone surrogates, no NaN, and UTF-8 only."""

    def refuse(name):
        raise ValueError(name)

    value = json.loads(data.decode("utf-8"), parse_constant=refuse)
    text = json.dumps(value, ensure_ascii=False)
    text.encode("utf-8")
    if "\\u0000" in text.replace("\\\\", ""):
        raise ValueError("U+0000")
    return value


def validate_event(event):
    if not isinstance(event, dict) or "msg_type" not in event:
        raise ValueError("no event")
    name = BY_TYPE.get(event["msg_type"]) if isinstance(event["msg_type"], str) else None
    if name:
        validate(name, event)


def validate_record(data):
    value = strict_json(data)
    if isinstance(value, dict) and "Message" not in value and "msg_type" in value:
        validate_event(value)
    else:
        validate("envelope.schema.json", value)
        validate_event(strict_json(value["Message"].encode("utf-8", "surrogatepass")))


def samples(kind):
    found = sorted((SAMPLES / kind).glob("*.json"))
    return [pytest.param(path, id=path.stem) for path in found]


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_schema_is_one(name):
    Draft202012Validator.check_schema(SCHEMAS[name])


@pytest.mark.parametrize("path", samples("good"))
def test_good_sample_is_valid(path):
    validate_record(path.read_bytes())


@pytest.mark.parametrize("path", samples("bad"))
def test_bad_sample_is_not(path):
    with pytest.raises(Exception) as caught:
        validate_record(path.read_bytes())
    assert not isinstance(caught.value, (LookupError, AttributeError)), "the schemas are broken"


@pytest.mark.parametrize("path", samples("bad"))
def test_bad_sample_has_a_reason(path):
    assert path.with_suffix(".reason").read_text(encoding="utf-8").strip()


def references(node):
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


ASYNCAPI = yaml.safe_load((PROTO / "asyncapi.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("reference", sorted(set(references(ASYNCAPI))))
def test_reference_exists(reference):
    file, _, pointer = reference.partition("#")
    node = json.loads((PROTO / file).read_text(encoding="utf-8")) if file else ASYNCAPI
    for step in pointer.split("/")[1:]:
        node = node[step]
    assert node


@pytest.mark.parametrize("name", sorted(ASYNCAPI["channels"]))
def test_channel_says_what_topics_apply_needs(name):
    channel = ASYNCAPI["channels"][name]
    kafka = channel["bindings"]["kafka"]
    assert kafka["topic"] == channel["address"]
    assert name == kafka["topic"].replace(".", "-")
    assert kafka["partitions"] >= 1 and kafka["replicas"] >= 1
    assert int(kafka["topicConfiguration"]["retention.ms"]) > 0


def test_topics_of_the_table_are_channels():
    """What `weir publish` knows how to check is in the contract."""
    addresses = {channel["address"] for channel in ASYNCAPI["channels"].values()}
    table = (PROTO / "topics.c").read_text(encoding="utf-8")
    assert "shelf-help.events" in addresses and '"shelf-help.events"' in table
