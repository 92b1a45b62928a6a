"""Digits: IDX files made byte by byte here, a download from a real server, the stand-in; what is broken is named."""

import gzip
import hashlib
import os
import struct
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from kit.arrays import digits

IMAGES, LABELS, TEST_IMAGES, TEST_LABELS = digits.FILES


def idx(shape, numbers, kind=8):
    """An IDX file, by its description: header, sizes, numbers."""
    return gzip.compress(struct.pack(f">BBBB{len(shape)}I", 0, 0, kind, len(shape), *shape) + bytes(numbers), mtime=0)


def written(folder, train=5, test=3):
    """Four files of pictures where pixel p of picture i is (i + p) mod 256, and the label i mod 10."""
    for count, images, labels in ((train, IMAGES, LABELS), (test, TEST_IMAGES, TEST_LABELS)):
        pixels = [(i + p) % 256 for i in range(count) for p in range(784)]
        (folder / images).write_bytes(idx((count, 28, 28), pixels))
        (folder / labels).write_bytes(idx((count,), [i % 10 for i in range(count)]))
    return folder


# Reading


def test_idx_files_are_read_pixel_by_pixel(tmp_path):
    found = digits.load(written(tmp_path, 12, 3))
    assert [a.shape for a in (found.x_train, found.y_train, found.x_test, found.y_test)] == [
        (12, 784),
        (12,),
        (3, 784),
        (3,),
    ]
    assert found.x_train.dtype == found.x_test.dtype == np.float32
    assert found.y_train.dtype == found.y_test.dtype == np.int64
    for i, p in [(0, 0), (0, 255), (0, 256), (11, 783), (7, 28)]:
        assert found.x_train[i, p] == np.float32((i + p) % 256) / np.float32(255)
    assert found.y_train.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert found.source == "MNIST's IDX files: 12 pictures to learn from, 3 to be tested on"


def test_sizes_are_read_with_the_highest_byte_first(tmp_path):
    (tmp_path / "a.gz").write_bytes(idx((2, 300), [7] * 600))
    assert digits.read_idx(tmp_path / "a.gz").shape == (2, 300)


def test_arrays_own_their_numbers_and_may_be_written(tmp_path):
    found = digits.load(written(tmp_path))
    found.x_train[0] = 0
    found.y_train[0] = 9


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        (IMAGES, b"not gzip", "broken"),
        (IMAGES, idx((5, 28, 28), [0] * 3920)[:-30], "broken"),
        (IMAGES, gzip.compress(b"\x80\x04\x95pickle"), "begins with 80 04 95 70, wanted 00 00 08"),
        (IMAGES, gzip.compress(b""), "begins with , wanted"),
        (IMAGES, idx((5, 28, 28), [0] * 3920, kind=0x0D), "begins with 00 00 0d 03"),
        (IMAGES, idx((5, 28, 28), [0] * 3919), "got 3935 bytes, wanted 16 and one for each of (5, 28, 28)"),
        (IMAGES, idx((5, 28, 28), [0] * 3921), "got 3937 bytes"),
        (IMAGES, gzip.compress(b"\0\0\x08\x03\0\0"), "got 6 bytes, wanted 16"),
        (IMAGES, idx((5, 14, 56), [0] * 3920), "got shape (5, 14, 56), wanted (n, 28, 28)"),
        (IMAGES, idx((3920,), [0] * 3920), "got shape (3920,)"),
        (LABELS, idx((4,), [0] * 4), "got shape (4,), wanted a label for each of 5 pictures"),
        (LABELS, idx((5,), [0, 1, 2, 3, 10]), "got a label 10, wanted 0 to 9"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_broken_file_is_named_with_what_is_wrong(tmp_path, name, data, words):
    (written(tmp_path) / name).write_bytes(data)
    with pytest.raises(ValueError) as error:
        digits.load(tmp_path)
    assert str(error.value).startswith(f"{name}: ") and words in str(error.value)


def test_a_named_folder_without_the_files_is_no_reason_for_other_digits(tmp_path):
    (written(tmp_path) / TEST_LABELS).unlink()
    with pytest.raises(FileNotFoundError) as error:
        digits.load(tmp_path)
    assert f"got no {TEST_LABELS}, wanted MNIST's four files; or download=True" in str(error.value)


def test_the_cache_is_where_the_files_are_looked_for_when_no_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert digits.load().source.startswith("scikit-learn's bundled digits, not MNIST")
    (tmp_path / "walkthrough-kit/mnist").mkdir(parents=True)
    written(tmp_path / "walkthrough-kit/mnist")
    assert digits.load().source.startswith("MNIST's IDX files")


# The download


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A server's folder with the four files, whose checksums are the expected ones; `asked` lists what was fetched."""
    served = tmp_path / "served"
    served.mkdir()
    written(served)
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path.removeprefix("/"))
            super().do_GET()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=served))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here = f"http://127.0.0.1:{server.server_port}/"
    sums = {name: hashlib.sha256((served / name).read_bytes()).hexdigest() for name in digits.FILES}
    monkeypatch.setattr(digits, "FILES", sums)
    monkeypatch.setattr(digits, "MIRRORS", (here + "gone/", here))
    yield served, asked
    server.shutdown()
    server.server_close()


def test_a_download_passes_over_a_dead_mirror_and_shows_its_progress(tmp_path, mirror, capsys):
    found = digits.load(tmp_path / "new", download=True)
    assert found.x_train.shape == (5, 784)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(digits.FILES)
    said = capsys.readouterr().out
    size = (mirror[0] / IMAGES).stat().st_size / 1e6
    assert f"\r{IMAGES}: {size:.1f} of {size:.1f} MB" in said


def test_what_is_there_is_not_fetched_again(tmp_path, mirror):
    _, asked = mirror
    digits.fetch(tmp_path / "new")
    asked.clear()
    (tmp_path / "new" / LABELS).unlink()
    digits.load(tmp_path / "new", download=True)
    assert asked == [f"gone/{LABELS}", LABELS]


def test_wrong_bytes_never_come_under_the_file_s_name(tmp_path, mirror):
    served, _ = mirror
    good = (served / IMAGES).read_bytes()
    (served / IMAGES).write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(OSError) as error:
        digits.load(tmp_path / "new", download=True)
    assert f"{IMAGES}: no mirror has it." in str(error.value)
    assert "SHA-256" in str(error.value) and "404" in str(error.value)
    assert list((tmp_path / "new").iterdir()) == []


def test_an_interrupted_download_leaves_nothing_behind(tmp_path, mirror, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.print", interrupted)
    with pytest.raises(KeyboardInterrupt):
        digits.fetch(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


def test_no_address_answers_is_said_in_words(tmp_path, monkeypatch):
    monkeypatch.setattr(digits, "MIRRORS", ("http://127.0.0.1:9/",))
    with pytest.raises(OSError, match=r"no mirror has it\. http://127\.0\.0\.1:9/: .*refused"):
        digits.fetch(tmp_path)


# The stand-in


def test_the_bundled_digits_are_scikit_learn_s_and_said_to_be(tmp_path, monkeypatch):
    from sklearn.datasets import load_digits

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found, theirs = digits.load(), load_digits()
    x, y = np.concatenate([found.x_train, found.x_test]), np.concatenate([found.y_train, found.y_test])
    assert x.dtype == np.float32 and y.dtype == np.int64 and len(found.y_test) == 359
    np.testing.assert_array_equal(y, theirs.target)
    picture = x.reshape(-1, 28, 28)
    for row, column in [(0, 0), (3, 5), (7, 7)]:
        block = picture[:, 2 + 3 * row : 5 + 3 * row, 2 + 3 * column : 5 + 3 * column]
        np.testing.assert_array_equal(
            block, np.broadcast_to(theirs.images[:, row, column, None, None] / 16, (1797, 3, 3))
        )
    assert picture.sum() == 9 * theirs.images.sum() / 16  # the border is empty
    assert "scikit-learn's bundled digits, not MNIST: 1,438" in found.source


def test_every_digit_is_learnt_and_tested(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = digits.load()
    for y in (found.y_train, found.y_test):
        assert np.bincount(y, minlength=10).min() > 0.07 * len(y)


def test_neither_scikit_learn_nor_torch_is_imported_before_it_is_needed():
    code = "import sys, kit.arrays.digits; print({'sklearn', 'torch', 'pickle'} & set(sys.modules))"
    said = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path += {sys.path}; {code}"], capture_output=True
    )
    assert b"sklearn" not in said.stdout and b"torch" not in said.stdout, said.stderr


@pytest.mark.skipif("KIT_MNIST" not in os.environ, reason="KIT_MNIST names no folder with MNIST's own files")
def test_the_real_files_have_the_known_checksums_and_counts():
    """1,135 ones and 892 fives among the 10,000: the test set's counts, published with many a confusion matrix."""
    folder = Path(os.environ["KIT_MNIST"])
    for name in set(digits.FILES) & {path.name for path in folder.iterdir()}:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digits.FILES[name]
    x, y = digits._pair(folder, TEST_IMAGES, TEST_LABELS)
    assert x.shape == (10000, 784) and x.min() == 0 and x.max() == 1
    assert np.bincount(y)[[1, 5]].tolist() == [1135, 892]
