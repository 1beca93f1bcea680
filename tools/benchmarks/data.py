"""The data that experiments leave behind, made from fixed seeds. Sizes are in MiB."""

import json
import pickle

import numpy as np

MIB = 1 << 20


def series(mib, seed=0):
    """Random walks: neighbours are close, low bits are noise."""
    return np.cumsum(np.random.default_rng(seed).normal(size=mib * MIB // 8))


def weights(mib, seed=0):
    return (np.random.default_rng(seed).standard_normal(mib * MIB // 4, "f4") * 0.02).astype("f4")


def bf16_weights(mib, seed=0):
    return (weights(2 * mib, seed).view("u4") >> 16).astype("u2")


def ids(mib, seed=0):
    return np.sort(np.random.default_rng(seed).integers(0, 10**9, size=mib * MIB // 8))


def noise(mib, seed=0):
    return np.random.default_rng(seed).integers(0, 2**64, size=mib * MIB // 8, dtype="u8")


def csv(mib, seed=0):
    rng = np.random.default_rng(seed)
    rows = 9000
    block = "\n".join(
        f"{i},{a:.6g},{b:.4f},{c}"
        for i, a, b, c in zip(
            range(rows),
            rng.normal(size=rows),
            rng.exponential(size=rows),
            rng.choice(["red", "green", "blue"], rows),
            strict=True,
        )
    ).encode()
    # Shuffled columns of the same block would repeat within a chunk; fresh numbers do not.
    blocks = [block] + [
        "\n".join(
            f"{i},{a:.6g},{a * a:.4f},x" for i, a in enumerate(rng.normal(size=rows))
        ).encode()
        for _ in range(max(mib * MIB // len(block) - 1, 0))
    ]
    return b"\n".join(blocks)


def json_objects(count, seed=0):
    """Results of cells: a few settings, and curves of different lengths; about 4 KiB each."""
    rng = np.random.default_rng(seed)
    return [
        json.dumps(
            {
                "cell": i,
                "params": {"lr": float(rng.choice([0.1, 0.01])), "layers": int(rng.integers(9))},
                "loss": rng.random(int(rng.integers(50, 350))).round(17).tolist(),
            }
        ).encode()
        for i in range(count)
    ]


def versions(mib, count=8, seed=0):
    """One file in several versions, each with small edits, inserts and cuts of the one before."""
    rng = np.random.default_rng(seed)
    alphabet = np.frombuffer(
        b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/", "u1"
    )
    current = alphabet[rng.integers(0, 64, size=mib * MIB, dtype="u1")].tobytes()
    yield current
    for _ in range(count - 1):
        edited = bytearray(current)
        for _ in range(10):
            at, size = int(rng.integers(len(edited))), int(rng.integers(100, 4096))
            edited[at : at + size] = rng.bytes(size)
        for _ in range(5):
            at = int(rng.integers(len(edited)))
            edited[at:at] = rng.bytes(int(rng.integers(1, 2000)))
        for _ in range(3):
            at = int(rng.integers(len(edited)))
            del edited[at : at + int(rng.integers(1, 2000))]
        current = bytes(edited)
        yield current


def forests(trees, count=10):
    """A forest fitted on the same digits with several seeds; None without scikit-learn."""
    try:
        from sklearn.datasets import load_digits
        from sklearn.ensemble import RandomForestClassifier
    except ImportError:
        return None
    x, y = load_digits(return_X_y=True)
    return [RandomForestClassifier(trees, random_state=seed).fit(x, y) for seed in range(count)]


def states(mib, epochs=5, seed=0):
    """A state dict over epochs: the backbone is frozen, the head moves, step counters count."""
    rng = np.random.default_rng(seed)
    layers = 8
    backbone = {f"layer{i}.weight": weights(mib // layers, seed + i) for i in range(layers - 2)}
    head = {f"head{i}.weight": weights(mib // layers, 100 + i) for i in range(2)}
    for epoch in range(epochs):
        head = {
            name: w + rng.standard_normal(w.size, "f4") * np.float32(1e-3)
            for name, w in head.items()
        }
        yield {**backbone, **head, "steps": np.array(epoch * 100)}


def write_pickles(objects, folder):
    folder.mkdir()
    for i, obj in enumerate(objects):
        with (folder / f"{i}.pkl").open("wb") as file:
            pickle.dump(obj, file, protocol=5)
