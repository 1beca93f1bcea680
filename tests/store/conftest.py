import pytest

from druse_store import ArtifactRef, BlobRef, Digest, ObjectRef, Read, Record, Store, extend


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def store(path):
    with Store.open(path) as opened:
        yield opened


@pytest.fixture
def make_record():
    """Records whose reads lead to their signature; `blob` is an artifact's, a small one's digest
    or any one's reference."""

    def make(number=0, *, replicate=0, blob=None, reads=None, **fields):
        start = fields.pop("start", Digest.of(b"start"))
        reads = (Read("ctx:n", Digest.of(b"%d" % number)),) if reads is None else reads
        signature = start
        for read in reads:
            signature = extend(signature, read.key, read.value)
        artifacts = ()
        if blob is not None:
            ref = blob if isinstance(blob, BlobRef) else BlobRef(blob, 1, blob)
            artifacts = (ArtifactRef("a", 0, ObjectRef("bytes", ref)),)
        values = {
            "signature": signature,
            "replicate": replicate,
            "status": "ok",
            "base": Digest.of(b"base"),
            "start": start,
            "reads": reads,
            "metrics": {"n": number},
            "artifacts": artifacts,
            "output": None,
            "provenance": {},
            "manifest": None,
        }
        return Record(**(values | fields))

    return make
