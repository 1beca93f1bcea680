# ruff: noqa: E501 - tables of bytes
"""Manifests: what a key was made of, kept as bytes, and what differs, said for people."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from druse.errors import DruseError
from druse.fingerprint import Component, Manifest, diff
from druse.fingerprint.manifest import ManifestDamaged, _order
from druse_store import Digest
from support.edited import Key, Project


def manifest(key: Key, part: str = "train_model") -> Manifest:
    found = [
        Component(name, kind, Digest.from_hex(digest), file, line, detail)
        for kind, name, digest, file, line, detail in key.components
    ]
    return Manifest.of((part, component) for component in found)


def sentences(project: Project, before: Key) -> list[str]:
    return [change.sentence for change in diff(manifest(before), manifest(project.key()))]


STEPS = "from utils.norm import scale\nimport conf\ndef step(x): return scale(x) * conf.K\n"
NORM = "# a line\ndef scale(x):\n    return deep(x)\ndef deep(x):\n    return x + 1\n"


@pytest.fixture
def before(project: Project) -> Key:
    project.write(steps=STEPS, utils__norm=NORM, conf="K = 3\nWORDS = ['a']\n")
    return project.key()


def test_a_changed_helper_is_named_with_file_and_line(project: Project, before: Key) -> None:
    project.write(utils__norm=NORM.replace("x + 1", "x + 2"))
    assert sentences(project, before) == ["train_model: helper utils/norm.py:4 deep() changed"]


def test_a_changed_global_is_named_with_its_values_if_they_are_numbers(
    project: Project, before: Key
) -> None:
    project.write(conf="K = 4\n")
    assert sentences(project, before) == ["train_model: global conf.K 3 -> 4"]
    project.write(conf="K = 'a secret'\n")
    assert sentences(project, before) == ["train_model: global conf.K changed"]


def test_moved_lines_are_no_difference(project: Project, before: Key) -> None:
    project.write(utils__norm="\n\n" + NORM)
    assert sentences(project, before) == []


def test_added_and_removed_helpers_are_named(project: Project, before: Key) -> None:
    project.write(utils__norm="def scale(x):\n    return other(x)\ndef other(x): return x + 5\n")
    assert sentences(project, before) == [
        "train_model: helper utils/norm.py:4 deep() removed",
        "train_model: helper utils/norm.py:3 other() added",
    ]


def test_a_moved_or_renamed_helper_is_said_to_have_moved(project: Project, before: Key) -> None:
    project.write(
        utils__norm="from utils.deep import deeper\ndef scale(x):\n    return deeper(x)\n",
        utils__deep="def deeper(x):\n    return x + 1\n",
    )
    assert sentences(project, before) == [
        "train_model: helper utils/norm.py:4 deep() is now helper utils/deep.py:1 deeper()"
    ]


def test_a_new_version_of_a_package_and_a_changed_class_are_named() -> None:
    digests = [Digest.of(bytes([n])) for n in range(4)]
    old = Manifest.of(
        [
            ("fit", Component("scikit-learn", "package", digests[0], detail="1.6")),
            ("fit", Component("Net.rate", "attribute", digests[0], "net.py", 3)),
            ("", Component("Net", "class", digests[0], "net.py", 3)),
        ]
    )
    new = Manifest.of(
        [
            ("fit", Component("scikit-learn", "package", digests[1], detail="1.7")),
            ("fit", Component("Net.rate", "attribute", digests[1], "net.py", 4)),
            ("", Component("Net", "class", digests[1], "net.py", 4)),
        ]
    )
    assert [change.sentence for change in diff(old, new)] == [
        "class net.py:4 Net changed",
        "fit: attribute Net.rate changed",
        "fit: scikit-learn 1.6 -> 1.7",
    ]


def test_one_of_several_functions_of_one_name_changed(project: Project) -> None:
    text = "fs = [lambda x: x + 1,\n lambda x: x + 2,\n lambda x: x + {}]\ndef step(x): return fs\n"
    project.write(steps=text.format(3))
    before = project.key()
    project.write(steps=text.format(4))
    assert sentences(project, before) == ["train_model: helper steps.py:3 <lambda>() changed"]


unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

component = st.builds(
    Component,
    st.text(),
    st.sampled_from(["function", "global", "package"]),
    st.binary(min_size=32, max_size=32).map(Digest),
    st.none() | st.text(),
    st.none() | st.integers(),
    st.text(),
)


@unhurried
@example([("", Component("", "function", Digest.of(b""), None, line, "")) for line in (None, 0)])
@example([("", Component("", "function", Digest.of(b""), file, 1, "")) for file in ("", None)])
@given(st.lists(st.tuples(st.text(), component)))
def test_a_manifest_comes_back_from_its_bytes_whatever_its_order(entries: list) -> None:
    found = Manifest.of(entries)
    raw = found.encode()
    assert Manifest.decode(raw) == found
    assert Manifest.of(reversed(entries)).encode() == raw
    assert diff(found, found) == []
    assert len(set(map(_order, entries))) == len(set(entries))  # or sets would decide


@unhurried
@given(st.lists(st.tuples(st.just(""), component)), st.lists(st.tuples(st.just(""), component)))
def test_manifests_differ_where_their_digests_do(old: list, new: list) -> None:
    def what(entries: list) -> set:
        return {(c.kind, c.name, c.digest) for _, c in entries}

    changes = diff(Manifest.of(old), Manifest.of(new))
    if what(old) == what(new):
        assert changes == []
    elif {c.digest for _, c in old} != {c.digest for _, c in new}:
        assert changes != []


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"druse manifest 2\n", b"druse manifest 1\n{", b"druse manifest 1\n[1]", b"druse manifest 1\n\xff",
        b'druse manifest 1\n["a","b","c","00",null,1,""]', b'druse manifest 1\n["a","b",1,"' + b"0" * 64 + b'",null,1,""]',
        b"druse manifest 1\n" + b"[" * 100_000, b'druse manifest 1\n["","","","' + b"0" * 64 + b'",null,"1",""]',
    ],
)  # fmt: skip
def test_bytes_that_are_no_manifest_are_an_error(raw: bytes) -> None:
    with pytest.raises(ManifestDamaged) as raised:
        Manifest.decode(raw)
    assert isinstance(raised.value, DruseError)
