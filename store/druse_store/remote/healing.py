"""What a repair asks remotes for: `store.repair(fetch=lost_chunks([site, ...]))`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from druse_store import codec
from druse_store.digest import Digest
from druse_store.errors import Damaged, RemoteError, UnknownCodec
from druse_store.remote import layout
from druse_store.remote.catalog import Catalog
from druse_store.remote.packindex import Place
from druse_store.remote.site import Site
from druse_store.remote.transfer import all_at_once


def lost_chunks(
    sites: Sequence[Site], failed: Callable[[RemoteError], None]
) -> Callable[[Sequence[Digest]], Iterable[tuple[Digest, bytes]]]:
    """Looks for chunks on each of these remotes, until all are found.

    One that cannot be reached is passed over, once `failed` was told; what is damaged there, too,
    counts as not found.
    """

    def fetch(wanted: Sequence[Digest]) -> Iterator[tuple[Digest, bytes]]:
        open_still = set(wanted)
        for site in sites:
            try:
                for digest, data in _from(site, open_still):
                    open_still.discard(digest)
                    yield digest, data
            except RemoteError as error:
                failed(error)
            if not open_still:
                return

    return fetch


def _from(site: Site, wanted: set[Digest]) -> Iterator[tuple[Digest, bytes]]:
    catalog = Catalog(site)
    catalog.refresh()
    places = catalog.find(set(wanted), tombstoned=True)

    def load(item: tuple[Digest, Place]) -> tuple[Digest, bytes | None]:
        digest, place = item
        try:
            key = layout.pack_key(place.pack)
            stored = site.backend.load(key, place.offset, place.stored)
            data = codec.decode(place.codec, stored, place.size)
        except (Damaged, UnknownCodec):
            return digest, None
        return digest, data if Digest.of(data) == digest else None

    for digest, data in all_at_once(load, places.items(), lambda item: 2 * item[1].size):
        if data is not None:
            yield digest, data
