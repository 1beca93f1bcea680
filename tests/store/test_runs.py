import lmdb
import pytest

from druse_store import Store
from druse_store.errors import IndexDamaged


def test_a_run_whose_cells_are_not_all_in_the_index_is_damaged_not_short(path, make_record):
    with Store.open(path) as store:
        writer = store.begin_run("exp")
        for replicate in range(3):
            record = store.put_record(make_record(replicate=replicate))
            writer.add("base", replicate, record, "run")  # each a commit: a piece of its own
        writer.finish(complete=True)
    with lmdb.open(str(path / "index"), max_dbs=20) as index:
        cells = index.open_db(b"cells")
        with index.begin(write=True) as transaction:
            pieces = list(transaction.cursor(cells).iternext(values=False))
            transaction.delete(pieces[1], db=cells)
    assert len(pieces) == 3
    with Store.open(path) as store, pytest.raises(IndexDamaged, match=r"exp/v0.*rebuild-index"):
        _ = store.run("exp").cells
