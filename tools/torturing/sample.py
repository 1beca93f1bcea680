"""A small store with one of everything, and what it must answer: the yardstick for damage."""

import os

from workload import make_record

from druse_store import Digest, Store, StoreError

BLOB_COUNT = 12


def make(path):
    """Make the store, and return what `observe` must see: a mapping of questions to answers."""
    import random

    chance = random.Random(5)
    with Store.open(path) as store:
        blobs = [store.put(chance.randbytes(20 * 3**i % 700) + b"a" * i) for i in range(BLOB_COUNT)]
        blobs.append(store.put(bytes(1_200_000)))  # two chunks and a list of them, all small
        blobs.append(store.put(b"text that is worth compressing " * 40))
        objects = [store.put_object({"a": [1, 2.5, None]}), store.put_object((b"x" * 2000, "y"))]
        writer = store.begin_run("exp")
        for i, blob in enumerate(blobs[:4]):
            record = store.put_record(make_record(f"key {i}", blob, i, "sample"))
            writer.add("base", i, record, "run")
        writer.finish(complete=True)
        store.pin("kept", blobs[0])
    questions = {
        **{("blob", blob): None for blob in blobs},
        **{("object", ref): None for ref in objects},
        **{("record", i): None for i in range(4)},
        ("run", "exp"): None,
        ("pins", ""): None,
    }
    return observe(path, questions)


def observe(path, questions):
    """The answers; a StoreError as its class, since that is how damage has to show."""
    with Store.open(path, read_only=True) as store:
        return {question: _answer(store, *question) for question in questions}


def _answer(store, kind, what):
    try:
        if kind == "blob":
            return store.get(what)
        if kind == "object":
            return store.get_object(what)
        if kind == "record":
            record = store.record(make_record(f"key {what}", Digest.of(b""), 0, "").signature, 0)
            return None if record is None else record.encode()
        if kind == "run":
            run = store.run(what)
            return None if run is None else (run.info, run.complete, run.cells)
        return store.pins()
    except StoreError as error:
        return type(error)


def judge(path, expected):
    """How damage shows: a dict of how many answers are right, missing, an error; and wrong ones."""
    try:
        answers = observe(path, expected)
    except StoreError as error:
        return {"refused": type(error).__name__, "wrong": []}
    wrong = [
        f"{question[0]}: {str(answers[question])[:80]}"
        for question, right in expected.items()
        if answers[question] != right and not _is_refusal(answers[question], question[0])
    ]
    right = sum(answers[question] == value for question, value in expected.items())
    return {"right": right, "of": len(expected), "wrong": wrong}


def _is_refusal(answer, kind):
    """An error, or no answer at all: the cell is then computed again."""
    return answer is None or isinstance(answer, type) or (kind == "pins" and answer == {})


def find_damage(path):
    """What `verify` finds: a list of texts."""
    with Store.open(path) as store:
        if not hasattr(store, "verify"):
            return ["not looked for"]
        return [str(finding) for finding in store.verify().findings]


def writes_still_work(path, expected):
    """Put something new beside the damage; what was readable before must be so afterwards."""
    before = judge(path, expected)
    try:
        with Store.open(path) as store:
            fresh = os.urandom(50_000)
            digest = store.put(fresh)
            assert store.get(digest) == fresh
    except StoreError as error:
        return [] if "refused" in before else [f"a put raises {type(error).__name__}: {error}"]
    after = judge(path, expected)
    if after.get("right", 0) < before.get("right", 0):
        return [f"a put made it worse: {before} became {after}"]
    return after["wrong"]
