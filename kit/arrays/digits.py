"""Handwritten digits: MNIST from its own IDX files where they are, scikit-learn's bundled digits otherwise.

    x    pictures (n, 784), float32 in [0, 1], 0 the paper and 1 the ink; 28 x 28, row by row
    y    labels (n,), int64, 0 to 9

Nothing is unpickled: IDX is a header of a few bytes, then the pixels (described at yann.lecun.com/exdb/mnist, 1998).
"""

import gzip
import hashlib
import os
import tempfile
import urllib.request
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

FILES = {  # name -> SHA-256 of the file as it is distributed
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
UNSIGNED_BYTES = 0x08  # IDX's code for the only kind of number that MNIST uses
SIDE = 28
TEST_SHARE = 0.2  # of the bundled digits, their last
CHUNK = 1 << 16  # bytes between two looks at the progress
PATIENCE = 30  # seconds without an answer


@dataclass(frozen=True)
class Digits:
    """Pictures and labels to learn from, others to be tested on, and in words where they came from."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    source: str


def load(folder=None, *, download=False):
    """Digits: MNIST when its four files are in `folder`, or scikit-learn's when no folder is named and there are none.

    folder: where the .gz files are, or are put by `download=True`; by default walkthrough-kit/mnist in the user's
    cache. Raises FileNotFoundError for a named folder that lacks a file, ValueError for one that is broken, OSError
    when no mirror hands out the right bytes.
    """
    named, folder = folder is not None, Path(folder or _cache()).expanduser()
    if download:
        fetch(folder)
    missing = [name for name in FILES if not (folder / name).exists()]
    if not missing:
        return _mnist(folder)
    if named:
        raise FileNotFoundError(f"{folder}: got no {', '.join(missing)}, wanted MNIST's four files; or download=True")
    return _bundled()


def _cache():
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "walkthrough-kit" / "mnist"


# IDX files


def read_idx(path):
    """The array in a gzipped IDX file of unsigned bytes. Raises ValueError for anything else.

    Two zeros, a byte for the kind of number, one for how many axes; each axis's size, four bytes, the highest first;
    the numbers, row-major.
    """
    path = Path(path)
    try:
        data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{path.name}: broken ({error}), wanted a gzipped IDX file") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != UNSIGNED_BYTES:
        raise ValueError(f"{path.name}: begins with {data[:4].hex(' ')}, wanted 00 00 08, unsigned bytes in IDX")
    start = 4 + 4 * data[3]
    shape = tuple(np.frombuffer(data[4:start], ">u4").tolist()) if len(data) >= start else ()
    if len(shape) != data[3] or len(data) - start != prod(shape):
        raise ValueError(f"{path.name}: got {len(data)} bytes, wanted {start} and one for each of {shape}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _mnist(folder):
    (x_train, y_train), (x_test, y_test) = (_pair(folder, *list(FILES)[i : i + 2]) for i in (0, 2))
    source = f"MNIST's IDX files: {len(y_train):,} pictures to learn from, {len(y_test):,} to be tested on"
    return Digits(x_train, y_train, x_test, y_test, source)


def _pair(folder, images, labels):
    """Pictures and labels that belong together."""
    x, y = read_idx(folder / images), read_idx(folder / labels)
    if x.shape[1:] != (SIDE, SIDE):
        raise ValueError(f"{images}: got shape {x.shape}, wanted (n, {SIDE}, {SIDE})")
    if y.shape != x.shape[:1]:
        raise ValueError(f"{labels}: got shape {y.shape}, wanted a label for each of {len(x)} pictures")
    if y.max(initial=0) > 9:
        raise ValueError(f"{labels}: got a label {y.max()}, wanted 0 to 9")
    return x.reshape(len(x), -1).astype(np.float32) / 255, y.astype(np.int64)


# The download


def fetch(folder):
    """Put those of MNIST's four files that are not in `folder` there, 11.6 MB in all, and say how far it is.

    A file appears under its name only whole, and only with the right SHA-256. Raises OSError when no mirror has it.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if not (folder / name).exists():
            _fetch(folder, name)


def _fetch(folder, name):
    refusals = []
    with tempfile.TemporaryDirectory(dir=folder) as aside:
        part = Path(aside) / name
        for mirror in MIRRORS:
            try:
                found = _copy(mirror + name, part)
            except OSError as error:
                refusals.append(f"{mirror}: {error}")
                continue
            if found == FILES[name]:
                os.replace(part, folder / name)
                return
            refusals.append(f"{mirror}: SHA-256 {found}, wanted {FILES[name]}")
    raise OSError(f"{name}: no mirror has it. " + "; ".join(refusals))


def _copy(url, path):
    """Write what a URL holds to a file, print the progress on one line, and return the SHA-256."""
    digest, done = hashlib.sha256(), 0
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer, path.open("wb") as file:
        total = int(answer.headers.get("Content-Length") or 0)
        while chunk := answer.read(CHUNK):
            file.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            print(f"\r{path.name}: {done / 1e6:.1f} of {total / 1e6:.1f} MB", end="", flush=True)
    print()
    return digest.hexdigest()


# The stand-in


def _bundled():
    from sklearn.datasets import load_digits  # takes a second, and is not always needed

    small, y = load_digits(return_X_y=True)
    x = enlarged(small.reshape(-1, 8, 8) / 16).reshape(len(y), -1).astype(np.float32)
    tested = round(TEST_SHARE * len(y))
    source = (
        f"scikit-learn's bundled digits, not MNIST: {len(y) - tested:,} pictures to learn from, {tested} to be tested "
        "on, of 8 x 8 pixels, each drawn 3 by 3 within a border of 2. load(download=True) fetches MNIST"
    )
    return Digits(x[:-tested], y[:-tested].astype(np.int64), x[-tested:], y[-tested:].astype(np.int64), source)


def enlarged(pictures):
    """Pictures (n, 8, 8) as (n, 28, 28): each pixel 3 by 3, and a border of 2 zeros. No new grey is invented."""
    return np.pad(pictures.repeat(3, 1).repeat(3, 2), ((0, 0), (2, 2), (2, 2)))
