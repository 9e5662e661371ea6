"""Atlas accepts the migration directory: judged by its own library, see tests/oracle/atlas."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MIGRATIONS = ROOT / "services" / "shelf-help-writer" / "migrations"
ORACLE = ROOT / "tests" / "oracle" / "atlas"

EXAMPLE = {
    "20250101000000_one.sql": "CREATE TABLE a (id bigint);\n",
    "20250102000000_two.sql": "ALTER TABLE a ADD COLUMN b text;\n",
    "atlas.sum": (
        "h1:QIH0DHV/DgQi9muoWCMA2soYAUWuq7RCvoHvjCpOoLQ=\n"
        "20250101000000_one.sql h1:HetLbZUkjaLCvm/f3eAEYmmQjA1+xHSMj9T8mrwm+VA=\n"
        "20250102000000_two.sql h1:QuySzcnrtno5Z9cFOGMZcqnQIO6Kq2iJ2QPJmvicyCM=\n"
    ),
}

pytestmark = pytest.mark.skipif(
    not shutil.which("go"), reason="go is not installed; the oracle is a Go program"
)


def atlas(directory):
    command = ["go", "run", "-mod=readonly", ".", str(directory)]
    return subprocess.run(command, cwd=ORACLE, capture_output=True, text=True, timeout=300)


@pytest.fixture
def example(tmp_path):
    for name, text in EXAMPLE.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def copy(tmp_path):
    return Path(shutil.copytree(MIGRATIONS, tmp_path / "migrations"))


def test_our_directory_is_valid():
    result = atlas(MIGRATIONS)
    assert (result.returncode, result.stdout) == (0, "ok 15\n"), result.stderr


def test_the_worked_example_is_valid(example):
    result = atlas(example)
    assert (result.returncode, result.stdout) == (0, "ok 2\n"), result.stderr


def test_a_changed_file_is_refused(copy):
    path = copy / "20241029221340_add_new_libraries.sql"
    path.write_text(path.read_text() + "\n")
    result = atlas(copy)
    assert result.returncode == 1 and "checksum mismatch" in result.stderr


def test_a_removed_file_is_refused(copy):
    (copy / "20240904215325_enable_rls.sql").unlink()
    assert atlas(copy).returncode == 1


def test_an_added_file_is_refused(copy):
    (copy / "20240904215326_more.sql").write_text("SELECT 1;\n")
    assert atlas(copy).returncode == 1


def test_a_missing_sum_file_is_refused(copy):
    (copy / "atlas.sum").unlink()
    result = atlas(copy)
    assert result.returncode == 1 and "checksum file not found" in result.stderr
