"""The rows of `tools/bench store`: which systems do what, on which data, against which target."""

from dataclasses import dataclass
from functools import cache

import data
import numpy as np
import store_contestants as systems
from measure import Row, Target

BACKUP = ("restic", "borg")


@dataclass
class Sizes:
    """MiB, unless it says otherwise."""

    arrays: int = 512
    kind: int = 128
    version: int = 128
    forest_trees: int = 100
    state: int = 64
    small_objects: int = 20_000  # objects
    large_blob: int = 2048
    stored_objects: int = 1_000_000  # objects

    @classmethod
    def quick(cls):
        return cls(64, 16, 16, 10, 8, 2000, 256, 20_000)


def all_rows(sizes, folder):
    """Every row. Data are made when a row first needs them, as files below `folder`."""
    return [
        *_array_rows(sizes, folder),
        _small_objects_put(sizes),
        _small_objects_get(sizes),
        _noise(sizes, folder),
        *_kinds(sizes, folder),
        *_objects(sizes, folder),
        _versions(sizes, folder),
        _memory(sizes),
        _open(sizes),
    ]


def _array_rows(sizes, folder):
    @cache
    def arrays():
        return [data.series(sizes.arrays // 8, seed) for seed in range(8)]

    @cache
    def files():
        source = folder / "arrays"
        source.mkdir()
        for i, array in enumerate(arrays()):
            np.save(source / f"{i}.npy", array)
        return source

    volume = sizes.arrays * data.MIB
    faster, no_larger = Target("time", 4, BACKUP), Target("size", 1, BACKUP)
    yield Row(
        f"put {sizes.arrays} MiB of float64 arrays",
        {
            "druse": lambda f: systems.put_arrays(f, arrays()),
            "druse put_path": lambda f: systems.put_files(f, files()),
            "cp + fsync": lambda f: systems.copy(f, files()),
            "restic": lambda f: systems.backup(systems.Restic, f, files()),
            "borg": lambda f: systems.backup(systems.Borg, f, files()),
        },
        volume,
        targets=(faster, no_larger, Target("time", 4, BACKUP, "druse put_path")),
    )
    yield Row(
        f"get {sizes.arrays} MiB of float64 arrays",
        {
            "druse": lambda f: systems.get_arrays(f, arrays()),
            "druse get_to": lambda f: systems.get_files(f, files()),
            "restic": lambda f: systems.restore(systems.Restic, f, files()),
            "borg": lambda f: systems.restore(systems.Borg, f, files()),
        },
        volume,
        targets=(faster, Target("time", 4, BACKUP, "druse get_to")),
    )
    yield Row(
        f"verify {sizes.arrays} MiB of float64 arrays",
        {
            "druse": lambda f: systems.verify_store(f, arrays()),
            "restic": lambda f: systems.verify(systems.Restic, f, files()),
            "borg": lambda f: systems.verify(systems.Borg, f, files()),
        },
        volume,
    )
    yield Row(
        f"map a raw array of {sizes.arrays} MiB, the first time",
        {"druse": lambda f: systems.map_array(f, sizes.arrays, first=True)},
        volume,
        targets=(Target("seconds", 0.120),),
    )
    yield Row(
        f"map a raw array of {sizes.arrays} MiB, again",
        {"druse": lambda f: systems.map_array(f, sizes.arrays, first=False)},
        volume,
        targets=(Target("seconds", 0.005),),
    )


def _small_objects_put(sizes):
    @cache
    def objects():
        return data.json_objects(sizes.small_objects)

    return Row(
        f"put {sizes.small_objects:,} small objects in one batch",
        {
            "druse": lambda f: systems.put_objects(f, objects()),
            "restic": lambda f: systems.write_and_backup(systems.Restic, f, objects()),
            "borg": lambda f: systems.write_and_backup(systems.Borg, f, objects()),
            "joblib.dump": lambda f: systems.joblib_dump(f, objects()),
            "joblib.Memory": lambda f: systems.joblib_memory(f, objects()),
            "diskcache": lambda f: systems.diskcache_set(f, objects()),
        },
        count=sizes.small_objects,
        targets=(
            Target("time", 5, BACKUP),
            Target("time", 8, ("joblib.Memory", "joblib.dump")),
        ),
    )


def _small_objects_get(sizes):
    @cache
    def objects():
        return data.json_objects(sizes.small_objects)

    return Row(
        f"get {sizes.small_objects:,} small objects",
        {
            "druse": lambda f: systems.get_objects(f, objects()),
            "joblib.load": lambda f: systems.joblib_load(f, objects()),
            "diskcache": lambda f: systems.diskcache_get(f, objects()),
        },
        count=sizes.small_objects,
    )


def _file_row(name, source, volume, targets=()):
    return Row(
        name,
        {
            "druse": lambda f: systems.put_files(f, source()),
            "cp + fsync": lambda f: systems.copy(f, source()),
            "restic": lambda f: systems.backup(systems.Restic, f, source()),
            "borg": lambda f: systems.backup(systems.Borg, f, source()),
        },
        volume,
        targets=targets,
    )


def _folder_of(folder, name, write):
    @cache
    def made():
        target = folder / name
        target.mkdir()
        write(target)
        return target

    return made


def _noise(sizes, folder):
    source = _folder_of(folder, "noise", lambda t: data.noise(sizes.kind).tofile(t / "noise"))
    target = Target("time", 0.5, ("cp + fsync",))
    return _file_row(
        f"put {sizes.kind} MiB incompressible", source, sizes.kind * data.MIB, (target,)
    )


def _kinds(sizes, folder):
    kinds = {
        "float32 weights": lambda t: data.weights(sizes.kind).tofile(t / "f4"),
        "bf16 weights": lambda t: data.bf16_weights(sizes.kind).tofile(t / "bf16"),
        "int64 ids": lambda t: data.ids(sizes.kind).tofile(t / "ids"),
        "CSV": lambda t: (t / "table.csv").write_bytes(data.csv(sizes.kind)),
    }
    for name, write in kinds.items():
        source = _folder_of(folder, name, write)
        yield _file_row(f"put {sizes.kind} MiB of {name}", source, sizes.kind * data.MIB)


def _objects(sizes, folder):
    @cache
    def forests():
        return data.forests(sizes.forest_trees)

    @cache
    def states():
        return list(data.states(sizes.state))

    for name, objects in (
        ("10 forests by 10 seeds", forests),
        (f"a state dict of {sizes.state} MiB over 5 epochs", states),
    ):
        files = _folder_of(
            folder, name, lambda t, objects=objects: data.write_pickles(objects(), t / "p")
        )
        yield Row(
            f"put {name}",
            {
                "druse": lambda f, objects=objects: systems.put_each(f, objects()),
                "druse put_path": lambda f, files=files: systems.put_files(f, files()),
                "joblib.dump": lambda f, objects=objects: systems.joblib_dump(f, objects()),
                "restic": lambda f, files=files: systems.backup(systems.Restic, f, files()),
                "borg": lambda f, files=files: systems.backup(systems.Borg, f, files()),
            },
        )


def _versions(sizes, folder):
    def write(target):
        for i, content in enumerate(data.versions(sizes.version)):
            (target / str(i)).mkdir()
            (target / str(i) / "file").write_bytes(content)

    source = _folder_of(folder, "versions", write)
    return Row(
        f"put 8 versions of a {sizes.version} MiB file",
        {
            "druse": lambda f: systems.put_versions(f, source()),
            "restic": lambda f: systems.backup_versions(systems.Restic, f, source()),
            "borg": lambda f: systems.backup_versions(systems.Borg, f, source()),
        },
        8 * sizes.version * data.MIB,
        targets=(Target("time", 4, BACKUP), Target("size", 1.05, BACKUP)),
    )


def _memory(sizes):
    return Row(
        f"put_path and get_to of {sizes.large_blob} MiB: peak memory",
        {"druse": lambda f: systems.stream_large(f, sizes.large_blob)},
        sizes.large_blob * data.MIB,
        targets=(Target("MiB", 150),),
    )


def _open(sizes):
    return Row(
        f"open a store of {sizes.stored_objects:,} objects",
        {"druse": lambda f: systems.open_store(f, sizes.stored_objects)},
        targets=(Target("seconds", 0.010),),
    )
