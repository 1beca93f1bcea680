"""Two machines and a folder: what one computed, the other need not, if it trusts the one's key."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from druse_store import Store, add_remote
from druse_store.digest import Digest
from druse_store.errors import InvalidInput, RemoteError, RemoteNotFound, RunNotFound
from druse_store.remote import sharing
from druse_store.remote.layout import records_topic
from druse_store.remote.push import gather
from druse_store.remote.reading import read_topic
from support.sharing import BASE, QUICK, make_record, signature_of


@pytest.fixture
def pair(machine, folder_url):
    ann, bob = machine("ann", folder_url), machine("bob", folder_url)
    return ann, bob.trusts(ann)


def test_what_a_trusted_key_published_is_here_and_its_bytes_when_needed(pair):
    ann, bob = pair
    array = np.random.default_rng(0).standard_normal(200_000)
    writer = ann.store.begin_run("exp")
    for number, value in enumerate([b"small", array, {"a": [1, 2]}]):
        writer.add("base", number, ann.compute(number, value), "run")
    writer.finish(complete=True)
    pushed = ann.push().execute()
    assert (pushed.records, pushed.runs, pushed.damaged) == (3, 1, ())
    with bob.tier() as tier:
        assert tier.records_for([BASE]).records == 3
        record = bob.store.record(signature_of(1), 0)
        assert record.metrics == {"n": 1}
        with bob.store.reading() as view:
            assert len(view.missing(record)) == 1
        assert tier.fetch_for(record)
        assert (bob.store.get_object(record.artifacts[0].ref) == array).all()
        assert bob.store.origin(record.digest).signer == ann.signer.public
    assert bob.store.verify().findings == []
    assert bob.warnings == []


def test_without_trust_nothing_comes_and_it_is_said_why(machine, folder_url):
    ann, bob = machine("ann", folder_url), machine("bob", folder_url)
    ann.run()
    ann.push().execute()
    with bob.tier() as tier:
        brought = tier.records_for([BASE])
    assert not bob.has(0)
    assert ann.signer.public.short in brought.reasons()[0]
    assert "druse trust add" in bob.warnings[0]
    assert len(bob.warnings) == 1


def test_a_second_push_sends_nothing_and_a_changed_store_only_what_is_new(pair):
    ann, _ = pair
    ann.run(numbers=range(3))
    assert ann.push().execute().records == 3
    again = ann.push().execute()
    assert (again.records, again.runs, again.chunks, again.bytes) == (0, 0, 0, 0)
    ann.run(numbers=range(5))
    plan = ann.push().plan()
    assert plan.chunks == 2
    pushed = ann.push().execute()
    assert (pushed.records, pushed.runs, pushed.chunks) == (2, 1, 2)


def test_a_dry_run_writes_nothing(pair, tmp_path):
    ann, _ = pair
    ann.run()
    before = sorted(path for path in (tmp_path / "remote").rglob("*") if path.is_file())
    plan = ann.push().plan()
    assert (plan.records, plan.chunks) == (3, 3)
    assert plan.bytes > 0
    assert sorted(p for p in (tmp_path / "remote").rglob("*") if p.is_file()) == before


def test_a_record_that_is_here_is_not_displaced_unless_it_failed(pair):
    ann, bob = pair
    ann.run(numbers=range(3))
    ann.push().execute()
    mine = bob.compute(0, b"mine")
    failed = bob.store.put_record(make_record(1, None, status="failed"))
    with bob.tier() as tier:
        assert tier.records_for([BASE]).records == 3
        assert tier.records_for([BASE]).records == 0
    assert bob.store.record(signature_of(0), 0).digest == mine
    assert bob.store.record(signature_of(1), 0).digest != failed
    assert bob.store.record_by_digest(failed) is not None


def test_a_failed_cell_is_published_for_people_and_is_never_a_hit(pair):
    ann, bob = pair
    writer = ann.store.begin_run("exp")
    failed = ann.store.put_record(make_record(0, None, status="failed"))
    writer.add("base", 0, failed, "failed")
    writer.finish(complete=False)
    ann.push().execute()
    with bob.tier() as tier:
        assert tier.records_for([BASE]).records == 0
    assert not bob.has(0)


def test_what_came_from_others_is_not_said_again_under_ones_own_key(machine, folder_url, pair):
    ann, bob = pair
    ann.run()
    ann.push().execute()
    with bob.tier() as tier:
        tier.records_for([BASE])
    assert bob.push(everything=True).execute().records == 0


def test_records_whose_bytes_are_gone_are_published_with_what_is_known(pair):
    ann, bob = pair
    ann.run()
    record = ann.store.record(signature_of(0), 0)
    load = gather(ann.store._session, [record])
    assert not load.absent
    with bob.tier() as tier:
        ann.push().execute()
        tier.records_for([BASE])
        assert gather(bob.store._session, []).chunks == {}
        assert bob.has(0)


def test_pull_brings_the_records_of_an_experiment_and_all_its_bytes_when_asked(pair):
    ann, bob = pair
    ann.run("exp", range(4))
    ann.push().execute()
    site = bob.site()
    brought, fetched = sharing.pull(bob.store, site, bob.trust, ["exp"])
    assert (brought.records, fetched) == (4, None)
    brought, fetched = sharing.pull(bob.store, site, bob.trust, [], blobs=True)
    assert brought.records == 0
    assert (fetched.chunks, fetched.missing) == (4, set())
    assert (
        bob.store.get_object(bob.store.record(signature_of(3), 0).artifacts[0].ref) == b"result 3"
    )
    with pytest.raises(RunNotFound, match="other"):
        sharing.pull(bob.store, site, bob.trust, ["other"])


def test_a_run_that_goes_on_publishes_as_it_goes_and_the_run_at_its_end(pair):
    ann, bob = pair
    with ann.tier() as tier:
        writer = ann.store.begin_run("exp")
        for number in range(3):
            record = ann.compute(number)
            writer.add("base", number, record, "run")
            tier.add(record)
        assert tier.flush()
        with bob.tier() as other:
            assert other.records_for([BASE]).records == 3
        ann.enter()
        assert tier.publish(writer.finish(complete=True))
    from druse_store.remote.published import published

    (run,) = published(bob.site(), bob.trust, "exp").runs
    assert (run.experiment, run.signer, len(run.cells)) == ("exp", "ann", 3)
    assert ann.warnings == bob.warnings == []


def test_many_small_segments_are_folded_so_that_a_reader_needs_one_request_each(pair):
    ann, bob = pair
    with ann.tier() as tier:
        for number in range(6):
            tier.add(ann.compute(number))
            tier.flush()
        run = ann.run("exp", range(6))
        tier.publish(run)
    site = bob.site()
    before = site.backend.requests
    from druse_store.remote.pull import bring_records

    brought = bring_records(bob.store._session, site, bob.trust, [BASE])
    assert brought.records == 6
    assert site.backend.requests - before == 2  # one listing, one signer


def test_a_remote_that_is_gone_makes_misses_and_one_warning(pair, tmp_path):
    ann, bob = pair
    ann.run()
    ann.push().execute()
    tier = bob.tier()
    (tmp_path / "remote").rename(tmp_path / "away")
    assert tier.records_for([BASE]).records == 0
    assert tier.fetch_blobs([Digest.of(b"x")]) == {Digest.of(b"x")}
    tier.close()
    assert len(bob.warnings) == 1
    assert "mounted" in bob.warnings[0]


def test_an_empty_place_where_a_remote_was_is_named_and_not_taken_for_it(pair, tmp_path):
    _, bob = pair
    tier = bob.tier()
    (tmp_path / "remote").rename(tmp_path / "away")
    (tmp_path / "remote").mkdir()
    assert tier.records_for([BASE]).records == 0
    tier.close()
    assert len(bob.warnings) == 1
    assert "no remote yet" in bob.warnings[0]


def test_what_could_not_be_published_is_named_and_sent_later(pair, tmp_path):
    ann, _ = pair
    tier = ann.tier()
    (tmp_path / "remote").rename(tmp_path / "away")
    tier.add(ann.compute(0))
    assert not tier.publish(ann.run("exp", range(2)))
    tier.close()
    assert any("druse push" in text for text in ann.warnings)
    (tmp_path / "away").rename(tmp_path / "remote")
    assert ann.push().execute().records == 2


def test_a_place_that_is_no_remote_or_another_one_is_refused(machine, folder_url, tmp_path):
    ann = machine("ann")
    with pytest.raises(RemoteNotFound, match="druse remote add"):
        sharing.open_site(ann.store)
    with pytest.raises(RemoteError, match="no remote yet"):
        sharing.open_site(ann.store, folder_url, QUICK)
    ann.add_remote(folder_url)
    (tmp_path / "remote" / "remote.json").write_text(
        '{"druse_remote": 1, "id": "' + "0" * 32 + '"}'
    )
    ann.run()
    with pytest.raises(RemoteError, match="another remote"):
        ann.push().execute()


def test_an_empty_place_that_several_add_at_once_becomes_one_remote(folder_url, tmp_path):
    stores = [Store.open(tmp_path / f"store{number}") for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        known = list(pool.map(lambda store: add_remote(store, "team", folder_url), stores))
    assert len({each.id for each in known}) == 1
    for store in stores:
        store.close()


@pytest.mark.parametrize(
    "url", ["s3://key:secret@bucket/x", "ftp://x/y", "s3://bucket?x=1", "file://host/x", "s3://"]
)
def test_an_address_that_is_wrong_or_holds_a_secret_is_refused(machine, url):
    ann = machine("ann")
    with pytest.raises(InvalidInput) as caught:
        sharing.add_remote(ann.store, "team", url)
    assert "secret" not in str(caught.value).replace("password or key", "")


def test_remotes_have_names_and_the_first_one_is_the_default(machine, folder_url, tmp_path):
    ann = machine("ann", folder_url)
    (tmp_path / "second").mkdir()
    sharing.add_remote(ann.store, "second", str(tmp_path / "second"))
    remotes = sharing.remotes_of(ann.store)
    assert [known.name for known in remotes.all()] == ["team", "second"]
    assert remotes.default().capabilities.create
    with pytest.raises(InvalidInput, match="already"):
        sharing.add_remote(ann.store, "team", str(tmp_path / "second"))
    remotes.remove("team")
    assert remotes.default().name == "second"
    assert sharing.open_site(ann.store, folder_url).name.startswith("file://")
    assert [known.name for known in remotes.all()] == ["second"]


def test_a_listing_that_misses_an_earlier_object_is_asked_again(pair):
    """A folder that is written to while it is listed may show a later object, and not this one."""
    ann, bob = pair
    with ann.tier() as tier:
        for number in range(3):
            tier.add(ann.compute(number))
            tier.flush()
        site = bob.site()
        listing = site.backend.backend.list
        missed = []

        def partial(prefix):
            entries = sorted(listing(prefix))
            if prefix.startswith("records/") and not missed:
                missed.append(entries.pop(1))
            return iter(entries)

        site.backend.backend.list = partial
        heard = read_topic(site, records_topic(BASE), bob.trust.believed())
        assert missed
        assert [claim.sequence for claim in heard.claims] == [1, 2, 3]
        assert heard.refused == []
        before = site.backend.requests
        read_topic(site, records_topic(BASE), bob.trust.believed())
        assert site.backend.requests - before == 1


def test_who_has_no_key_reads_and_is_told_once_that_nothing_is_published(pair):
    ann, bob = pair
    ann.run()
    ann.push().execute()
    (bob.config / "key").unlink()
    with bob.tier() as tier:
        assert tier.records_for([BASE]).records == 3
        assert bob.has(0)
        assert bob.warnings == []
        tier.add(bob.compute(5))
        tier.add(bob.compute(6))
    assert len(bob.warnings) == 1
    assert "druse trust init" in bob.warnings[0]
