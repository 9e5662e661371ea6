"""Fixtures of the black-box tests: a namespace on the broker, a migrated database, services.

A conftest.py takes them in with: from support.fixtures import *
"""

import os
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from .harness import ROOT, Bus, Service, free_port

__all__ = ["pytest_runtest_makereport", "bus", "services", "start_probe", "template", "tables", "start_writer", "own_stack"]

MIGRATIONS = ROOT / "services" / "shelf-help-writer" / "migrations"
PROBE_TOPICS = {
    "test-probe.ordered": 1,
    "test-probe.retried": 1,
    "test-probe.batch": 1,
    "test-probe.out": 1,
    "test-probe.dlq": 1,
    "test-probe.retry.10s": 1,
    "test-probe.retry.1m": 1,
    "test-probe.retry.10m": 1,
}
QUICK = {"WEIR_COMMIT_MS": "50"}  # tests wait for commits
WRITER_TOPICS = {"shelf-help.events": 1, "shelf-help-writer.dlq": 1}


started = pytest.StashKey()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """A failure shows the end of what its services said."""
    report = yield
    if report.when == "call" and report.failed:
        for service in item.stash.get(started, []):
            title = f"log of {service.name}, the end of {service.log_file}"
            report.sections.append((title, service.log_text()[-4000:]))
    return report


@pytest.fixture
def bus(brokers):
    """A namespace of the test's own; its topics and groups go with it."""
    made = Bus(brokers, f"test-{uuid.uuid4().hex[:12]}.")
    yield made
    made.close()


@pytest.fixture
def services(request, tmp_path):
    """services(name, bus, env): a Service that ends with the test."""
    ours = request.node.stash[started] = []

    def start(name, bus, env=()):
        ours.append(Service(name, bus, env, tmp_path))
        return ours[-1]

    yield start
    for service in ours:
        service.__exit__()


@pytest.fixture
def start_probe(bus, services):
    """start_probe(**env): a test-probe on fresh topics. topics= asks for other numbers of partitions."""

    def start(topics=(), **env):
        if not bus.topics:
            bus.create({**PROBE_TOPICS, **dict(topics)})
        return services("test-probe", bus, {"WEIR_RETRY_WAIT_MS": "20", **QUICK, **env})

    return start


# databases


def create_database(admin_url, owner, template):
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(admin_url, autocommit=True) as admin:
        statement = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {} ENCODING 'UTF8'")
        names = (sql.Identifier(text) for text in (name, owner, template))
        admin.execute(statement.format(*names))
    return name


def drop_database(admin_url, name):
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def migrate(dsn):
    with psycopg.connect(dsn, autocommit=True) as db:
        for path in sorted(MIGRATIONS.glob("*.sql")):
            with db.transaction():
                db.execute(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def template(postgres_url, postgres_admin_url):
    """Name of a migrated database, to copy."""
    owner = conninfo_to_dict(postgres_url)["user"]
    name = create_database(postgres_admin_url, owner, "template0")
    migrate(make_conninfo(postgres_url, dbname=name))
    yield name
    drop_database(postgres_admin_url, name)


@pytest.fixture
def tables(postgres_url, postgres_admin_url, template):
    """Connection string of a migrated database of the test's own."""
    owner = conninfo_to_dict(postgres_url)["user"]
    name = create_database(postgres_admin_url, owner, template)
    yield make_conninfo(postgres_url, dbname=name)
    drop_database(postgres_admin_url, name)


@pytest.fixture
def start_writer(bus, services, tables):
    """start_writer(**env): a shelf-help-writer on fresh topics and tables. partitions= of its topic."""

    def start(partitions=1, **env):
        if not bus.topics:
            bus.create({**WRITER_TOPICS, "shelf-help.events": partitions})
        return services("shelf-help-writer", bus, {"SHELF_HELP_DATABASE_URL": tables, **QUICK, **env})

    return start


# a stack of the module's own, to be stopped and started


class Stack:
    def __init__(self, folder):
        self.folder = folder
        self.kafka_port, self.postgres_port = free_port(), free_port()
        self.brokers = f"127.0.0.1:{self.kafka_port}"
        self.admin_url = f"postgresql://postgres@127.0.0.1:{self.postgres_port}/postgres"
        self.url = f"postgresql://weir@127.0.0.1:{self.postgres_port}/weir"
        self.env = {
            **os.environ,
            "WEIR_STACK_DIR": str(folder),
            "WEIR_STACK_KAFKA_PORT": str(self.kafka_port),
            "WEIR_STACK_KAFKA_CONTROLLER_PORT": str(free_port()),
            "WEIR_STACK_POSTGRES_PORT": str(self.postgres_port),
        }

    def database(self):
        """Connection string of a fresh, migrated database."""
        dsn = make_conninfo(self.url, dbname=create_database(self.admin_url, "weir", "template0"))
        migrate(dsn)
        return dsn

    def run(self, *arguments):
        command = [ROOT / "deploy" / "local" / "stack", *arguments]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def own_stack():
    """A Kafka and a PostgreSQL that nobody else uses."""
    folder = Path(tempfile.mkdtemp(prefix="weir-stack-"))
    folder.chmod(0o755)
    cache = Path(os.environ.get("WEIR_STACK_DIR", ROOT / ".stack")) / "cache"
    if cache.is_dir():
        (folder / "cache").symlink_to(cache)  # the jars; else they are fetched
    stack = Stack(folder)
    try:
        stack.run("up")
        yield stack
    finally:
        stack.run("down", "--wipe")
        shutil.rmtree(folder)
