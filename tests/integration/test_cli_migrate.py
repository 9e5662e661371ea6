"""weir migrate, against a real PostgreSQL: Atlas's directory, sum file and revision table."""

import json
import os
import re
import shutil
import subprocess
import threading
import time

import psycopg
import pytest
from support.harness import ROOT, run

MIGRATIONS = ROOT / "services" / "shelf-help-writer" / "migrations"
LOCK = 2686470616  # FNV-1 of atlas_migrate_execute, as Atlas computes its lock


def weir(*arguments, **options):
    return run("weir", "migrate", *map(str, arguments), **options)


@pytest.fixture
def folder(tmp_path):
    """folder(name=text, ...): a directory of migrations with its sum file."""

    def make(**files):
        path = tmp_path / "migrations"
        path.mkdir(exist_ok=True)
        for name, text in files.items():
            (path / f"{name.removeprefix('v')}.sql").write_text(text, encoding="utf-8")
        assert weir("hash", path).returncode == 0
        return path

    return make


def ok(done):
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(done, status, reason):
    assert done.returncode == status, (done.returncode, done.stderr)
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) == 1, "one line says it"


def rows(dsn, query):
    with psycopg.connect(dsn) as db:
        return db.execute(query).fetchall()


def tables(dsn):
    found = rows(dsn, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    return [name for (name,) in found]


ONE = "CREATE TABLE a (id bigint);\n"
TWO = "ALTER TABLE a ADD COLUMN b text;\n"


def test_hash_is_the_worked_example(folder):
    path = folder(v20250101000000_one=ONE, v20250102000000_two=TWO)
    assert (path / "atlas.sum").read_text() == (
        "h1:QIH0DHV/DgQi9muoWCMA2soYAUWuq7RCvoHvjCpOoLQ=\n"
        "20250101000000_one.sql h1:HetLbZUkjaLCvm/f3eAEYmmQjA1+xHSMj9T8mrwm+VA=\n"
        "20250102000000_two.sql h1:QuySzcnrtno5Z9cFOGMZcqnQIO6Kq2iJ2QPJmvicyCM=\n"
    )


def test_hash_agrees_with_the_repositorys_directory(tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(MIGRATIONS, copy)
    ok(weir("hash", copy))
    assert (copy / "atlas.sum").read_bytes() == (MIGRATIONS / "atlas.sum").read_bytes()


def test_up_applies_the_writers_migrations_once(database):
    first = ok(weir("up", MIGRATIONS, "--url", database))
    names = sorted(path.name for path in MIGRATIONS.glob("*.sql"))
    assert [line.split(":")[0] for line in first.splitlines()] == names
    assert rows(database, "SELECT count(*) FROM libraries") == [(1383,)]
    before = rows(database, "SELECT * FROM atlas_schema_revisions ORDER BY version")
    assert "applied" in ok(weir("up", MIGRATIONS, "--url", database))
    assert rows(database, "SELECT * FROM atlas_schema_revisions ORDER BY version") == before


def test_revision_table_is_as_atlas_makes_it(database, folder):
    path = folder(v20250101000000_one=ONE + "CREATE INDEX ON a (id);")
    ok(weir("up", path, "--url", database))
    columns = rows(
        database,
        "SELECT column_name, data_type, is_nullable, column_default FROM information_schema.columns"
        " WHERE table_name = 'atlas_schema_revisions' ORDER BY ordinal_position",
    )
    assert columns == [
        ("version", "character varying", "NO", None),
        ("description", "character varying", "NO", None),
        ("type", "bigint", "NO", "2"),
        ("applied", "bigint", "NO", "0"),
        ("total", "bigint", "NO", "0"),
        ("executed_at", "timestamp with time zone", "NO", None),
        ("execution_time", "bigint", "NO", None),
        ("error", "text", "YES", None),
        ("error_stmt", "text", "YES", None),
        ("hash", "character varying", "NO", None),
        ("partial_hashes", "jsonb", "YES", None),
        ("operator_version", "character varying", "NO", None),
    ]
    [row] = rows(
        database,
        "SELECT version, description, type, applied, total, error, error_stmt, hash, partial_hashes,"
        " operator_version, execution_time > 0, now() - executed_at < '1 minute'"
        " FROM atlas_schema_revisions",
    )
    hash_ = re.search("_one.sql h1:(.*)", (path / "atlas.sum").read_text())[1]
    assert row[:9] == ("20250101000000", "one", 2, 2, 2, "", "", hash_, None)
    assert row[9].startswith("weir ") and row[10:] == (True, True)


def test_a_failing_file_leaves_nothing_and_names_the_place(database, folder):
    bad = "CREATE TABLE b (id int);\n\n-- soon\nINSERT INTO nowhere VALUES (1);\n"
    path = folder(v1_one=ONE, v2_bad=bad, v3_three="CREATE TABLE c (id int);")
    refused(weir("up", path, "--url", database), 65, "2_bad.sql:4: pg: 42P01")
    assert tables(database) == ["a", "atlas_schema_revisions"]
    assert rows(database, "SELECT version FROM atlas_schema_revisions") == [("1",)]
    (path / "2_bad.sql").write_text("CREATE TABLE b (id int);")
    ok(weir("hash", path))
    ok(weir("up", path, "--url", database))
    assert tables(database) == ["a", "atlas_schema_revisions", "b", "c"]


@pytest.mark.parametrize("action", ["up", "status"])
def test_changed_added_and_removed_files_are_refused(database, folder, action):
    path = folder(v1_one=ONE, v2_two=TWO)
    (path / "2_two.sql").write_text(TWO + "-- more")
    refused(weir(action, path, "--url", database), 65, "2_two.sql: changed")
    (path / "2_two.sql").write_text(TWO)
    (path / "3_three.sql").write_text("SELECT 1")
    refused(weir(action, path, "--url", database), 65, "3_three.sql: not in atlas.sum")
    (path / "3_three.sql").unlink()
    (path / "1_one.sql").rename(path / "1_one.txt")
    refused(weir(action, path, "--url", database), 65, "1_one.sql: in atlas.sum, but gone")
    (path / "1_one.txt").rename(path / "1_one.sql")
    (path / "atlas.sum").write_text("h1:x\n" + "".join((path / "atlas.sum").open().readlines()[1:]))
    refused(weir(action, path, "--url", database), 65, "first line")
    (path / "atlas.sum").unlink()
    refused(weir(action, path, "--url", database), 65, "no atlas.sum")
    assert tables(database) == []


def test_a_file_that_changed_after_it_was_applied_is_refused(database, folder):
    path = folder(v1_one=ONE)
    ok(weir("up", path, "--url", database))
    path = folder(v1_one=ONE + "-- more\n", v2_two=TWO)
    refused(weir("up", path, "--url", database), 65, "1_one.sql: is not what was applied")


def test_a_file_before_the_last_applied_one_is_refused(database, folder):
    ok(weir("up", folder(v2_one=ONE), "--url", database))
    with psycopg.connect(database) as db:  # as if the sums had been chained that way all along
        path = folder(v1_early="SELECT 1;")
        hash_ = re.search("2_one.sql h1:(.*)", (path / "atlas.sum").read_text())[1]
        db.execute("UPDATE atlas_schema_revisions SET hash = %s", (hash_,))
    refused(weir("up", path, "--url", database), 65, "1_early.sql: not applied, though it comes before 2_one.sql")


def test_an_applied_version_without_a_file_is_refused(database, folder):
    path = folder(v1_one=ONE, v2_two=TWO)
    ok(weir("up", path, "--url", database))
    (path / "2_two.sql").unlink()
    ok(weir("hash", path))
    refused(weir("up", path, "--url", database), 65, "2 two: applied to the database, but not in the directory")


def test_atlas_baseline_and_identifier_rows_are_understood(database, folder):
    path = folder(v1_one=ONE, v2_two="CREATE TABLE two (id int);", v3_three="CREATE TABLE three (id int);")
    ok(weir("up", folder(), "--url", database))
    with psycopg.connect(database) as db:
        db.execute("DELETE FROM atlas_schema_revisions")
        insert = (
            "INSERT INTO atlas_schema_revisions (version, description, type, executed_at, execution_time,"
            " hash, operator_version) VALUES (%s, %s, %s, now(), 0, '', 'Atlas')"
        )
        db.execute(insert, (".atlas_cloud_identifier", "2f0c", 0))
        db.execute(insert, ("3", "three", 1))
    assert "3 applied, 0 pending" in ok(weir("status", path, "--url", database))


def test_status_tells_applied_from_pending(database, folder):
    path = folder(v1_one=ONE)
    ok(weir("up", path, "--url", database))
    path = folder(v2_two=TWO)
    text = ok(weir("status", path, "--url", database))
    assert text.endswith("1 applied, 1 pending\n")
    lines = [json.loads(line) for line in ok(weir("status", path, "--url", database, "--json")).splitlines()]
    assert [(line["version"], line["description"], line["state"]) for line in lines] == [
        ("1", "one", "applied"),
        ("2", "two", "pending"),
    ]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", lines[0]["executed_at"])
    assert lines[1]["executed_at"] is None


def test_status_of_an_empty_database_makes_nothing(database, folder):
    assert "0 applied, 1 pending" in ok(weir("status", folder(v1_one=ONE), "--url", database))
    assert tables(database) == []


STATEMENTS = r"""-- a file; with semicolons in comments
/* and; /* nested; */ still; */
CREATE TABLE texts (id int, t text DEFAULT 'a;''b');
INSERT INTO texts VALUES (1, 'semi;colon'), (2, E'it\'s; one'), (3, $$dollar; 'quoted'$$),
  (4, $body$ with $$ inside; $body$), (5, 'back\'), (6, 'a -- no comment; '), (7, U&'\0061;');
CREATE TABLE "odd;name" ("col""umn;" int, a$b int);
CREATE FUNCTION plain() RETURNS int LANGUAGE plpgsql AS $f$ BEGIN RETURN 1; END; $f$;
CREATE OR REPLACE FUNCTION atomic(x int) RETURNS int LANGUAGE sql BEGIN ATOMIC
  SELECT 1; SELECT CASE WHEN x > 0 THEN 2 ELSE 3 END;
END;
CREATE RULE r AS ON INSERT TO "odd;name" DO ALSO (INSERT INTO texts VALUES (8, 'x'); INSERT INTO texts VALUES (9, 'y'));;
 ; PREPARE find (int) AS SELECT t FROM texts WHERE id=$1; DO 'BEGIN NULL; END'
-- no semicolon after the last;
"""


def test_statements_are_cut_where_postgresql_would(database, folder):
    out = ok(weir("up", folder(v1_texts=STATEMENTS), "--url", database))
    assert "1_texts.sql: applied, 8 statements" in out
    assert rows(database, "SELECT id, t FROM texts ORDER BY id") == [
        (1, "semi;colon"),
        (2, "it's; one"),
        (3, "dollar; 'quoted'"),
        (4, " with $$ inside; "),
        (5, "back\\"),
        (6, "a -- no comment; "),
        (7, "a;"),
    ]
    assert rows(database, "SELECT plain(), atomic(1), atomic(0)") == [(1, 2, 3)]


@pytest.mark.parametrize(
    "text, reason",
    [
        ("SELECT 'open;\n", "a quoted text is not closed"),
        ('SELECT "open;\n', "a quoted name is not closed"),
        ("SELECT $x$ open; $$\n", "a dollar-quoted text is not closed"),
        ("/* open /* inner */;\n", "a comment is not closed"),
        ("SELECT 1;\nCOMMIT;\n", "2_bad.sql:2: a file runs in one transaction"),
        ("begin;", "a file runs in one transaction"),
        ("-- atlas:txmode none\n\nCREATE INDEX CONCURRENTLY i ON a (id);", "directive atlas:txmode"),
        ("-- atlas:delimiter \\n\\n\n", "directive atlas:delimiter"),
    ],
)
def test_files_that_cannot_be_run_are_refused_before_any_is(database, folder, text, reason):
    refused(weir("up", folder(v1_one=ONE, v2_bad=text), "--url", database), 65, reason)
    assert "a" not in tables(database)


def test_only_one_migrates_at_a_time(database, folder):
    path = folder(v1_one=ONE + "SELECT pg_sleep(0.5);")
    done = []
    threads = [
        threading.Thread(target=lambda: done.append(weir("up", path, "--url", database))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.returncode for one in done] == [0] * 4, [one.stderr for one in done]
    assert sum("1_one.sql: applied" in one.stdout for one in done) == 1


def test_it_waits_for_a_running_atlas(database, folder):
    path = folder(v1_one=ONE)
    with psycopg.connect(database, autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        thread_done = []
        thread = threading.Thread(target=lambda: thread_done.append(weir("up", path, "--url", database)))
        thread.start()
        time.sleep(0.7)
        assert not thread_done and tables(database) == []
    thread.join()
    assert "another migration is running" in thread_done[0].stderr
    assert tables(database) == ["a", "atlas_schema_revisions"]


def test_new_makes_a_file_and_lists_it(folder):
    path = folder(v20250101000000_one=ONE)
    made = ok(weir("new", path, "add_things")).strip()
    assert re.fullmatch(r"20\d{12}_add_things\.sql", os.path.basename(made))
    assert os.path.getsize(made) == 0
    assert os.path.basename(made) in (path / "atlas.sum").read_text()
    (path / "20250101000000_one.sql").write_text("-- changed")
    refused(weir("new", path, "more"), 65, "changed since")
    assert len(list(path.glob("*.sql"))) == 2


def test_new_starts_a_directory(tmp_path):
    ok(weir("new", tmp_path, "first"))
    assert len(list(tmp_path.glob("*_first.sql"))) == 1
    assert weir("new", tmp_path, "Bad-Name").returncode == 64


def test_new_never_goes_before_the_last_file(folder):
    path = folder(v29990101000000_late=ONE)
    refused(weir("new", path, "more"), 65, "29990101000000_late.sql is newer than the clock")


def test_exit_statuses(folder, postgres_url):
    path = folder(v1_one=ONE)
    refused(weir("up", path, "--url", "postgresql://weir@127.0.0.1:1/weir"), 69, "Connection refused")
    refused(weir("up", path, "--url", "postgresql://[broken"), 78, "malformed")
    refused(weir("up", path), 78, "WEIR_DATABASE_URL")
    assert weir("up").returncode == 64
    assert weir("sideways", path, "--url", postgres_url).returncode == 64
    refused(weir("up", path / "none", "--url", postgres_url), 65, "No such file")


def test_url_from_the_environment(database, folder):
    ok(weir("up", folder(v1_one=ONE), env={"WEIR_DATABASE_URL": database}))
    assert "a" in tables(database)


@pytest.mark.skipif(shutil.which("go") is None, reason="needs go")
def test_atlas_library_accepts_what_hash_and_new_write(folder):
    path = folder(v20250101000000_one=ONE, v20250102000000_two=STATEMENTS)
    ok(weir("new", path, "three"))
    oracle = ROOT / "tests" / "oracle" / "atlas"
    done = subprocess.run(["go", "run", ".", str(path)], cwd=oracle, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout == "ok 3\n", done.stdout + done.stderr
