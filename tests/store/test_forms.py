"""Forms make the records that `Record(...)` would be."""

from hypothesis import given
from hypothesis import strategies as st

from druse_store import ArtifactRef, BlobRef, Digest, Form, ObjectRef, Read, Record, extend

NAMES = st.text(max_size=12)
DIGESTS = st.binary(max_size=3).map(Digest.of)
BLOBS = st.builds(BlobRef, DIGESTS, st.integers(0, 2**40), DIGESTS)
OBJECTS = st.builds(ObjectRef, NAMES, BLOBS, st.lists(BLOBS, max_size=2).map(tuple), NAMES)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
BASE, START, MANIFEST = (Digest.of(text) for text in (b"base", b"start", b"manifest"))


def in_order(value):
    if isinstance(value, dict):
        return {key: in_order(value[key]) for key in sorted(value)}
    return [in_order(item) for item in value] if isinstance(value, list) else value


@given(
    replicate=st.integers(0, 2**32 - 1),
    reads=st.dictionaries(NAMES, DIGESTS, max_size=4),
    metrics=st.dictionaries(NAMES, st.lists(PLAIN, max_size=3), max_size=3),
    artifacts=st.lists(st.builds(ArtifactRef, NAMES, st.integers(-1, 5), OBJECTS), max_size=3),
    provenance=st.dictionaries(NAMES, PLAIN, max_size=4).map(in_order),
)
def test_a_form_gives_the_same_record_to_the_byte(replicate, reads, metrics, artifacts, provenance):
    node = START
    for key, value in reads.items():
        node = extend(node, key, value)
    record = Record(
        signature=node,
        replicate=replicate,
        status="ok",
        base=BASE,
        start=START,
        reads=tuple(Read(key, value) for key, value in reads.items()),
        metrics=metrics,
        artifacts=tuple(artifacts),
        output=None,
        provenance=provenance,
        manifest=MANIFEST,
    )
    made = Form(BASE, START, MANIFEST).fill(replicate, reads, metrics, artifacts, provenance)
    assert made.encode() == record.encode()
    assert made.digest == record.digest
    for name in ("signature", "replicate", "status", "base", "start", "metrics", "kind"):
        assert getattr(made, name) == getattr(record, name)
    for what in (Record.names, Record.nodes, Record.blobs):
        assert what(made) == what(record)
        assert what(made.packed()) == what(record)
    assert made == record


def test_cells_that_read_the_same_share_the_names():
    form = Form(BASE, START, MANIFEST)
    one, two = (form.fill(n, {"ctx:a": Digest.of(b"%d" % n)}, {}, [], {}) for n in (1, 2))
    assert one.names() is two.names()
    assert one.signature != two.signature
