"""What a cell that runs can ask for: artifacts of other experiments, by digest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from druse.artifact import Artifact, default_loader
from druse.errors import ArtifactNotFound, DruseError
from druse.floor import Floor
from druse.names import REPLICATE_KEY
from druse.places import Files, State, state
from druse.reads import ABSENT
from druse.scratch import Scratch
from druse.seeds import Seeding, after_resource, apart, of_resource, seed_generators
from druse.stepclaims import StepClaims
from druse.stored import StoredArtifact, materialise
from druse.task import UpstreamArtifact
from druse.watch import unwatched
from druse_store import ArtifactRef, Record, Store, StoreError

if TYPE_CHECKING:
    from druse.context import FrozenContext
    from druse.exchange import Exchange
    from druse.executors.far import Address
    from druse.key import Keys
    from druse.prepared import Input, Prepared


class InputGone(DruseError):
    """The bytes of an upstream artifact are missing or damaged; its cell has to run again."""

    def __init__(self, alias: str, error: Exception) -> None:
        super().__init__(str(error))
        self.alias = alias


class Workplace:
    """What the cells of one process share: the store, and files for loaders that want a path."""

    def __init__(
        self, store: Store, files: Files, keys: Keys, exchange: Exchange | None = None
    ) -> None:
        self.store = store
        self.files = files
        self.keys = keys
        self._exchange = exchange
        self.claims: StepClaims | None = None
        self.floor = Floor()
        self._scratch: Scratch | None = None
        self._made: dict[tuple[str, str], State] = {}

    def bring(self, record: Record) -> None:
        """Brings what a record names from where others have published it, as far as it can."""
        if self._exchange is not None:
            self._exchange.bring(self.store, record.artifacts, record)

    def bring_input(self, given: UpstreamArtifact) -> None:
        """Brings what a cell is going to read. Where the run's store is, it is there already."""

    def kept(self, record: Record) -> None:
        """A cacheable step's record was made. In the run's store it needs no more."""

    @property
    def address(self) -> Address | None:
        """Where workers that do not see the store find the run's remote."""
        return None if self._exchange is None else self._exchange.address

    @property
    def scratch(self) -> Path:
        if self._scratch is None:
            self._scratch = Scratch()
            self.files.leave_out(self._scratch.path)
        return self._scratch.path

    def share_steps(self) -> Path:
        """Cells are executed side by side: each cacheable step shall be executed once."""
        if self.claims is None:
            folder = self.scratch / "steps"
            folder.mkdir()
            self.claims = StepClaims(folder)
        return self.claims.folder

    def path(self, artifact: ArtifactRef, data: bytes | None = None) -> Path:
        """A file with the artifact's bytes; the same one as long as nobody touched it."""
        key = (artifact.ref.root.digest.hex(), artifact.name)
        path = self.scratch / key[0] / artifact.name
        made = self._made.get(key)
        if made is None or not path.exists() or state(path.stat()) != made:
            path = materialise(self.store, artifact, path.parent, data)
            self._made[key] = state(path.stat())
        return path

    def close(self) -> None:
        if self._scratch is not None:
            self._scratch.remove()


class Runtime:
    """The services of one cell. Contexts carry it, so that datasources can ask."""

    def __init__(
        self, place: Workplace, prepared: Prepared, upstream: Mapping[str, UpstreamArtifact]
    ) -> None:
        self._place = place
        self._prepared = prepared
        self._upstream = upstream

    @contextmanager
    def making(self, name: str, seeding: Seeding) -> Iterator[None]:
        """Within the block a resource is made: what it draws is the same wherever that is."""
        if seeding.is_shared:
            yield
            return
        seed = self._prepared.seed
        with apart(seed.seed_fn or seed_generators, of_resource(seed.root, name)):
            yield

    def goes_on_after_resource(self, seeding: Seeding, ctx: FrozenContext) -> None:
        """A resource is there. Whether it was made just now must not show in what is drawn next.

        The usual generators were put back. What a `seed_fn` sets nobody can put back: it is set
        anew whenever a step has used a resource.
        """
        seed, reads = self._prepared.seed, ctx._reads
        if seed.seed_fn is None or seeding.is_shared or reads is None:
            return
        place = reads.position
        used = reads.resources = reads.resources or {}
        used[place] = used.get(place, 0) + 1
        is_same = not seed.auto_seed or self._prepared.made[place + 1].shared
        replicate = 0 if is_same else ctx._data[REPLICATE_KEY]
        seed.seed_fn(after_resource(seed.root, replicate, place, used[place]))

    def fetch(self, artifact: Artifact, ctx: FrozenContext) -> Any:
        """The value of an input; reading it counts. Raises InputGone, ArtifactNotFound."""
        source = next((i for i in self._prepared.inputs if i.artifact is artifact), None)
        if source is None:
            raise ArtifactNotFound(
                f"artifact {artifact.name!r} is no input of {self._prepared.name}: name it in the "
                "experiment's datasource, alone or in an ExperimentInput"
            )
        alias, found = source.alias, self._upstream.get(source.alias)
        if ctx._reads is not None:
            digest = ABSENT if found is None else found.artifact.ref.root.digest
            ctx._reads.note(source.read, digest)
        if found is None:
            raise ArtifactNotFound(
                f"{source.producer} has no artifact {artifact.name!r} for {ctx._data['condition']} "
                f"replicate {ctx._data['replicate']}: it is among that experiment's outputs, and "
                "no step wrote it"
            )
        return self._load(alias, artifact, found)

    def _load(self, alias: str, artifact: Artifact, given: UpstreamArtifact) -> Any:
        found, data = given.artifact, given.data
        try:
            with unwatched():
                self._place.bring_input(given)
                if artifact.loader is default_loader:
                    return self._place.store.get(found.ref.root.digest) if data is None else data
                path = self._place.path(found, data)
        except StoreError as error:
            raise InputGone(alias, error) from error
        return artifact.loader(path)

    def stored_path(self, source: StoredArtifact, ctx: FrozenContext) -> Path:
        """The path of an artifact of an earlier run; reading it counts."""
        with unwatched():
            replicate = int(ctx._data.get("replicate", 0))
            linked = next((i for i in self._prepared.inputs if i.stored is source), None)
            name = f"stored:{source.key}"
            try:
                given = self._stored(source, linked, replicate)
            except ArtifactNotFound:
                if ctx._reads is not None:
                    ctx._reads.note(name, ABSENT)
                raise
            if ctx._reads is not None:
                ctx._reads.note(name, given.artifact.ref.root.digest)
            try:
                self._place.bring_input(given)
                return self._place.path(given.artifact, given.data)
            except StoreError as error:
                if linked is None:
                    raise
                raise InputGone(linked.alias, error) from error

    def _stored(
        self, source: StoredArtifact, linked: Input | None, replicate: int
    ) -> UpstreamArtifact:
        """Raises ArtifactNotFound."""
        if linked is None:
            return UpstreamArtifact(source.find(self._place.store, replicate))
        if linked.alias not in self._upstream:
            raise source.missing(replicate, "this run")
        return self._upstream[linked.alias]
