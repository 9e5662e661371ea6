"""Where the servers of the tests are, and fresh databases on them.

The servers are those of deploy/local/stack unless SHELF_HELP_DATABASE_URL and WEIR_BROKERS say
otherwise.
"""

import os
import uuid
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

MIGRATIONS = Path(__file__).parents[1] / "services" / "shelf-help-writer" / "migrations"


@pytest.fixture(scope="session")
def postgres_url():
    """A database on the server; its user is to own what the tests create."""
    return os.environ.get("SHELF_HELP_DATABASE_URL", "postgresql://weir@127.0.0.1:15432/weir")


@pytest.fixture(scope="session")
def postgres_admin_url(postgres_url):
    """The same server as superuser, to make databases and roles. POSTGRES_ADMIN_URL overrides."""
    guess = {"user": "postgres", "dbname": "postgres", "password": None}
    return os.environ.get("POSTGRES_ADMIN_URL") or make_conninfo(postgres_url, **guess)


@pytest.fixture(scope="session")
def brokers():
    return os.environ.get("WEIR_BROKERS", "127.0.0.1:19092")


@pytest.fixture
def database(postgres_url, postgres_admin_url):
    """Connection string of an empty database of this test's own, dropped after it."""
    name = f"test_{uuid.uuid4().hex}"
    owner = conninfo_to_dict(postgres_url)["user"]
    with psycopg.connect(postgres_admin_url, autocommit=True) as admin:
        create = "CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING 'UTF8'"
        admin.execute(sql.SQL(create).format(sql.Identifier(name), sql.Identifier(owner)))
        yield make_conninfo(postgres_url, dbname=name)
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def apply_migrations():
    """apply_migrations(dsn, first, last): the files of MIGRATIONS with a version in that range."""

    def apply(dsn, first="0", last="9"):
        with psycopg.connect(dsn, autocommit=True) as db:
            for path in sorted(MIGRATIONS.glob("*.sql")):
                if first <= path.name.split("_")[0] <= last:
                    with db.transaction():
                        db.execute(path.read_text(encoding="utf-8"))

    return apply
