"""Reading a topic: what trusted signers say in it, and why anything else does not count.

One LIST tells what there is. Of each signer the newest snapshot is read, and what came after it.
Everything is verified before it is decoded; a claim that is older than what this user has seen of
its signer, and yet new, was put back by somebody, and is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from druse_store.errors import ClaimRefused, ObjectMissing, RemoteDamaged
from druse_store.remote import claims, layout
from druse_store.remote.claims import NO_CLAIM, Claim
from druse_store.remote.layout import SNAPSHOT, Name
from druse_store.remote.memory import Seen, tail
from druse_store.remote.site import Site
from druse_store.remote.transfer import all_at_once
from druse_store.trust import PublicKey

_ROUNDS = 4


@dataclass(slots=True)
class Heard:
    """What a topic holds. `refused` are sentences; `unknown` counts objects by signer's short key;
    `names` is everything that was listed."""

    topic: str
    claims: list[Claim] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    unknown: dict[str, int] = field(default_factory=dict)
    names: list[Name] = field(default_factory=list)


def read_topic(site: Site, topic: str, believed: Iterable[PublicKey] | None) -> Heard:
    """What these signers say in a topic; `None`: what anybody says, if it is signed at all."""
    keys = None if believed is None else {key.short: key for key in believed}
    seen = site.memory.read(topic)
    names = list_topic(site, topic)
    while True:
        heard = Heard(topic, names=names)
        chosen = _by_signer(heard, keys)
        for signer in sorted(chosen):
            _drop_replays(heard, chosen[signer], seen.get(signer))
        _read(site, heard, chosen, None if keys is None else set(keys.values()))
        if not _has_new_gap(heard.claims, seen):
            break
        # A listing is no snapshot everywhere: it can show a later object and miss an earlier one.
        again = list_topic(site, topic)
        if again == names:
            break
        names = again
    remember(site, topic, heard.claims)
    return heard


def _has_new_gap(heard: Iterable[Claim], seen: Mapping[str, Seen]) -> bool:
    """Whether a segment that is new follows one that is not there, and that no snapshot covers."""
    found = list(heard)
    known = {claim.digest.hex() for claim in found} | {one.last for one in seen.values()}
    floors: dict[PublicKey, int] = {}
    for claim in found:
        if claim.kind == SNAPSHOT:
            floors[claim.signer] = max(claim.sequence, floors.get(claim.signer, 0))
    return any(
        claim.previous.hex() not in known
        for claim in found
        if claim.kind != SNAPSHOT
        and claim.previous != NO_CLAIM
        and claim.sequence > floors.get(claim.signer, 0) + 1
        and _is_new(claim, seen.get(claim.signer.short))
    )


def _is_new(claim: Claim, seen: Seen | None) -> bool:
    return seen is None or claim.key.rpartition("/")[2] not in seen.names


def list_topic(site: Site, topic: str) -> list[Name]:
    """The signed objects of a topic, as their names claim; ordered by sequence."""
    found = (layout.parse_signed(entry.key) for entry in site.backend.list(f"{topic}/"))
    return sorted(name for name in found if name is not None)


def remember(site: Site, topic: str, heard: Iterable[Claim]) -> None:
    """Notes verified claims in the user's memory, unless all of them are in it already."""
    named = [(layout.parse_signed(claim.key), claim) for claim in heard]
    seen = site.memory.read(topic)
    if all(name and _knows(seen.get(name.signer), name) for name, _ in named):
        return
    with site.memory.changing(topic) as seen:
        for name, claim in named:
            if name is not None:
                seen.setdefault(name.signer, Seen()).note(name, claim.digest)


def _knows(seen: Seen | None, name: Name) -> bool:
    return seen is not None and tail(name) in seen.names and seen.highest >= name.sequence


def current(names: Iterable[Name]) -> list[Name]:
    """Of one signer's objects: the newest snapshot, and what came after it, or at once."""
    ordered = sorted(names)
    snapshots = [name for name in ordered if name.kind == SNAPSHOT]
    if not snapshots:
        return ordered
    newest = snapshots[-1]
    later = (name for name in ordered if name.sequence >= newest.sequence and name != newest)
    return [newest, *later]


def _by_signer(heard: Heard, keys: Mapping[str, PublicKey] | None) -> dict[str, list[Name]]:
    found: dict[str, list[Name]] = {}
    for name in heard.names:
        if keys is None or name.signer in keys:
            found.setdefault(name.signer, []).append(name)
        else:
            heard.unknown[name.signer] = heard.unknown.get(name.signer, 0) + 1
    return found


def _drop_replays(heard: Heard, names: list[Name], seen: Seen | None) -> None:
    covered = {name.key for name in names} - {name.key for name in current(names)}
    for name in list(names):
        if seen is not None and name.key not in covered and seen.is_replay(name):
            names.remove(name)
            heard.refused.append(
                f"{name.key} is older than what its signer has published since, and was not there "
                "then: somebody put it back, or two machines use one key (then it is said again)"
            )


def _read(
    site: Site, heard: Heard, chosen: dict[str, list[Name]], believed: set[PublicKey] | None
) -> None:
    """Reads what counts of each signer; where it does not check, what it would have covered."""
    got: dict[str, Claim] = {}
    for _ in range(_ROUNDS):
        wanted = [n for names in chosen.values() for n in current(names) if n.key not in got]
        bad: set[str] = set()
        for name, claim, why in all_at_once(lambda n: _load(site, n, believed), wanted):
            if claim is None:
                bad.add(name.key)
                heard.refused += [why] if why else []
            else:
                got[name.key] = claim
        if not bad:
            break
        for names in chosen.values():
            names[:] = [name for name in names if name.key not in bad]
    live = [name.key for names in chosen.values() for name in current(names)]
    heard.claims = [got[key] for key in sorted(live) if key in got]


def _load(
    site: Site, name: Name, believed: set[PublicKey] | None
) -> tuple[Name, Claim | None, str]:
    """A verified claim, or why there is none; "" where it was collected meanwhile."""

    def believes(signer: PublicKey) -> bool:
        return believed is None or signer in believed

    kept = site.claims.load(tail(name))
    if kept is not None:
        try:
            return name, claims.verify(kept, name.key, site.id, believes), ""
        except ClaimRefused:
            site.claims.remove(tail(name))
    try:
        data = site.backend.load(name.key)
        claim = claims.verify(data, name.key, site.id, believes)
    except ObjectMissing:
        return name, None, ""
    except (ClaimRefused, RemoteDamaged) as error:
        return name, None, str(error)
    site.claims.store(tail(name), data)
    return name, claim, ""
