"""Files that readers of packages open by themselves: they count as those that Python opens."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pandas as pd
import polars as pl
import pyarrow
import pyarrow.csv
import pyarrow.dataset
import pyarrow.feather
import pyarrow.json
import pyarrow.orc
import pyarrow.parquet
import pytest

from druse import readers
from support.oneexp import Exp
from support.project import Project

IMPORTS = """
import pandas as pd, polars as pl, pyarrow.csv, pyarrow.dataset as ds, pyarrow.parquet as pq
from pathlib import Path
from polars import read_csv
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

def below(folder):
    outer = SubTreeFileSystem(str(Path.cwd()), LocalFileSystem())
    return SubTreeFileSystem(folder, outer)
"""


def table(exp: Exp, value: int) -> None:
    frame = pd.DataFrame({"a": [value]})
    (exp.root / "folder").mkdir(exist_ok=True)
    frame.to_parquet(exp.root / "t.parquet")
    frame.to_parquet(exp.root / "folder" / "t.parquet")
    (exp.root / "other").mkdir(exist_ok=True)
    frame.to_parquet(exp.root / "other" / "u.parquet")
    frame.to_csv(exp.root / "t.csv", index=False)


@pytest.mark.parametrize(
    "read",
    [
        "pd.read_parquet('t.parquet')['a'][0]",
        "pd.read_parquet(path='folder')['a'][0]",
        "pl.read_parquet('folder/*.parquet')['a'][0]",
        "pl.scan_csv('t.csv').collect()['a'][0]",
        "read_csv('t.csv')['a'][0]",
        "pq.ParquetFile('t.parquet').read()['a'][0].as_py()",
        "ds.dataset(['t.parquet']).to_table()['a'][0].as_py()",
        "pq.read_table(Path('t.parquet').absolute().as_uri())['a'][0].as_py()",
        "pl.read_parquet(f'file://{Path.cwd()}/t.parquet')['a'][0]",
        "pq.read_table('u.parquet', filesystem=below('other'))['a'][0].as_py()",
        "pyarrow.csv.read_csv(__import__('pathlib').Path('t.csv'))['a'][0].as_py()",
    ],
)
def test_a_file_that_a_package_opens_by_itself_counts_by_its_content(exp: Exp, read: str) -> None:
    table(exp, 1)
    exp.step(f"return data, {{'value': int({read})}}", IMPORTS)
    assert exp.value() == 1
    assert exp.hits()
    for path in exp.root.rglob("[tu].*"):
        path.touch()
    assert exp.hits()
    table(exp, 2)
    assert exp.value() == 2
    assert exp.hits()


def test_a_new_file_in_a_folder_that_is_read_counts(exp: Exp) -> None:
    table(exp, 1)
    exp.step("return data, {'value': len(pd.read_parquet('folder'))}", IMPORTS)
    assert exp.value() == 1
    assert exp.hits()
    shutil.copy(exp.root / "folder/t.parquet", exp.root / "folder/more.parquet")
    assert exp.value() == 2


@pytest.mark.parametrize(
    "again",
    [
        "frame.write_parquet('own'); return data, {'value': pl.read_parquet('own')['a'][0]}",
        "frame.lazy().sink_csv(path='own'); return data, {'value': read_csv('own')['a'][0]}",
        "frame.to_pandas().to_parquet('own'); return data, {'value': len(pd.read_parquet('own'))}",
        "pq.write_table(frame.to_arrow(), 'own');return data, {'value': len(pq.read_table('own'))}",
        "ds.write_dataset(frame.to_arrow(), 'own', format='parquet',"
        "existing_data_behavior='overwrite_or_ignore');"
        "return data, {'value': len(pd.read_parquet('own'))}",
    ],
)
def test_what_a_cell_wrote_itself_is_no_input_of_it(exp: Exp, again: str) -> None:
    exp.step(
        f"frame = pl.DataFrame({{'a': [k]}}); {again}",
        IMPORTS,
        takes="k=1",
        treatments="{t: {k: 2}}",
    )
    assert exp.misses()
    assert exp.hits()
    shutil.move(exp.root / "own", exp.root / "elsewhere")
    assert exp.hits()


def test_what_is_no_path_here_is_left_to_the_reader(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a\n1\n")
    assert list(readers._files(path)) == [str(path)]
    assert list(readers._files(["s3://bucket/t.csv", "https://host/t.csv", b"a\n1\n", None])) == []
    for url in (path.as_uri(), f"file:{path}"):
        assert list(readers._files(url)) == [str(path)]
    spaced = tmp_path / "with space.csv"
    spaced.touch()
    for url in (spaced.as_uri(), f"file://localhost{spaced}", f"file:{spaced}"):
        assert list(readers._files(url)) == [str(spaced)]
    assert list(readers._files(f"file://host{path}")) == []
    with path.open("rb") as stream:
        assert list(readers._files(stream)) == []
        assert pl.read_csv(stream)["a"].to_list() == [1]
    for missing in (tmp_path / "nowhere.csv", "~nobody.here/t.csv", tmp_path / ("long" * 99)):
        errors = []
        for read in (pl.read_csv, pl.read_csv.__wrapped__):
            with pytest.raises(OSError) as caught:
                read(missing)
            errors.append(str(caught.value))
        assert errors[0] == errors[1]


def test_a_reader_that_was_imported_under_another_name_before_is_wrapped_there_too(
    tmp_path: Path,
) -> None:
    program = """
        from pandas import read_parquet as load
        import druse
        druse.Experiment
        import pandas, pickle
        print(load is pandas.read_parquet, pickle.loads(pickle.dumps(load)) is load)
    """
    command = [sys.executable, "-c", dedent(program)]
    done = subprocess.run(command, check=True, capture_output=True, **Project(tmp_path).how(None))
    assert done.stdout.split() == [b"True", b"True"]


def test_the_readers_are_there_by_these_names_and_wrapped_once() -> None:
    for name in readers.MODULES:
        readers.wrap(sys.modules[name])
    missing = {"polars.read_csv_batched"}  # of older versions
    names = {f"{module}.{name}" for module in readers.MODULES for name in readers._READERS[module]}
    assert names - missing <= readers._seen
    assert readers.is_wrapped(pl.read_csv)
    assert not readers.is_wrapped(pl.read_csv.__wrapped__)
    assert pyarrow.csv.read_csv is sys.modules["pyarrow._csv"].read_csv
