"""Images in any form come out as one canonical array, whole or in parts; what is no image is refused by name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from anomalae.errors import ConfigError, ImageError
from anomalae.images.canonical import preprocess
from anomalae.images.sources import GROUP, Canonical, Preparation, gather_images, stream_images

RESIZE = Preparation("resize", "light", "grey")
IN_COLOUR = Preparation("resize", "light", "colour")


@pytest.fixture
def levels() -> np.ndarray:
    """Random light strokes on black, which `auto` takes as they are."""
    images = np.zeros((7, 28, 28), np.uint8)
    images[:, 6:22, 6:22] = np.random.default_rng(0).integers(0, 256, (7, 16, 16))
    return images


@pytest.fixture
def paths(levels: np.ndarray, tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(len(levels))]
    for path, image in zip(paths, levels, strict=True):
        Image.fromarray(image).save(path)
    return paths


class Items:
    """A data set as torchvision's are: an image and its label by number, and nothing to iterate over."""

    def __init__(self, images: list) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple:
        return self.images[index], index % 3


def floats(levels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(levels[:, None].astype(np.float32) / np.float32(255))


FORMS = {
    "array": lambda x: x,
    "column": lambda x: x[:, None],
    "rows": lambda x: x.reshape(-1, 784),
    "tensor": torch.from_numpy,
    "list of arrays": list,
    "tuple of arrays": tuple,
    "list of columns": lambda x: list(x[:, None]),
    "list of flat arrays": lambda x: list(x.reshape(-1, 784)),
    "list of tensors": lambda x: list(torch.from_numpy(x)),
    "list of batches": lambda x: [x[:5], x[5:]],
    "PIL images": lambda x: [Image.fromarray(image) for image in x],
    "mixed": lambda x: [x[0], Image.fromarray(x[1]), torch.from_numpy(x[2:4]), *x[4:, None]],
    "integers": lambda x: x.astype(np.int64),
    "nested lists": lambda x: x.tolist(),
    "data set": lambda x: Items(list(x)),
    "data set of PIL images": lambda x: Items([Image.fromarray(image) for image in x]),
    "generator of images": iter,
    "generator of batches": lambda x: (x[start : start + 3] for start in range(0, len(x), 3)),
    "loader": lambda x: DataLoader(torch.from_numpy(x), batch_size=3),
    "loader of floats": lambda x: DataLoader(floats(x), batch_size=3),
    "loader with labels": lambda x: DataLoader(TensorDataset(floats(x), torch.arange(7)), batch_size=3),
    "loader of a data set": lambda x: DataLoader(Items(list(x)), batch_size=2),
    "loader of mappings": lambda x: DataLoader([{"image": i, "label": 3} for i in x], batch_size=3),
    "loader of nested": lambda x: iter([((x[:4], None), [1]), ((x[4:], None), [2])]),
    "loader of lists": lambda x: DataLoader(
        [Image.fromarray(image) for image in x], batch_size=3, collate_fn=lambda batch: batch
    ),
    "loader of lists of pairs": lambda x: DataLoader(
        Items(list(x)), batch_size=3, collate_fn=lambda batch: batch
    ),
    "loader of lists of pairs of columns": lambda x: DataLoader(
        Items(list(floats(x))), batch_size=3, collate_fn=lambda batch: batch
    ),
    "loader of tuples of all images and all labels": lambda x: DataLoader(
        Items(list(x)), batch_size=3, collate_fn=lambda batch: tuple(zip(*batch, strict=True))
    ),
    "generator of lists of arrays": lambda x: (list(x[start : start + 3]) for start in range(0, len(x), 3)),
    "generator of lists of flat arrays": lambda x: (list(x[s : s + 3].reshape(-1, 784)) for s in (0, 3, 6)),
    "loader without batches": lambda x: DataLoader(floats(x), batch_size=None),
    "canonical": Canonical,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_images(levels: np.ndarray, form: str) -> None:
    gathered = gather_images(FORMS[form](levels))
    assert gathered.dtype == np.uint8
    np.testing.assert_array_equal(gathered, levels)
    parts = list(stream_images(FORMS[form](levels)))
    assert all(part.shape[1:] == (28, 28) for part in parts)
    streamed = np.concatenate([part if part.dtype == np.uint8 else np.rint(part * 255) for part in parts])
    np.testing.assert_array_equal(streamed, levels)


PARTS = {
    "without a channel": lambda x: torch.from_numpy(x),
    "with a channel": lambda x: torch.from_numpy(x[:, None]),
    "flat": lambda x: torch.from_numpy(x.reshape(-1, 784)),
}
TARGETS = {
    "integers": lambda x: torch.arange(len(x)),
    "one-hot": lambda x: torch.eye(10)[: len(x)],
    "images": lambda x: torch.from_numpy(255 - x),
    "images with a channel": lambda x: torch.from_numpy(255 - x[:, None]),
    "flat images": lambda x: torch.from_numpy(255 - x.reshape(-1, 784)),
}


@pytest.mark.parametrize("targets", TARGETS)
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, None])
def test_targets_are_never_images(
    levels: np.ndarray, part: str, targets: str, batch_size: int | None
) -> None:
    """A last batch of one, batches of one throughout, and no batches at all are read as other batches are."""
    pairs = TensorDataset(PARTS[part](levels), TARGETS[targets](levels))
    mappings = [{"image": image, "target": target} for image, target in pairs]
    for loader in (DataLoader(pairs, batch_size=batch_size), DataLoader(mappings, batch_size=batch_size)):
        np.testing.assert_array_equal(gather_images(loader), levels)
        # In a list, an array (3, 28, 28) is an image in colour, and a list of two (28, 28) is two images.
        if batch_size in (1, 2, 7):
            np.testing.assert_array_equal(gather_images(list(loader)), levels)
        tuples = (tuple(batch.values()) if isinstance(batch, dict) else tuple(batch) for batch in loader)
        np.testing.assert_array_equal(gather_images(tuples), levels)


def test_targets_among_samples_are_never_images(levels: np.ndarray) -> None:
    class Autoencoded(Items):
        def __getitem__(self, index: int) -> list:
            return [self.images[index], 255 - self.images[index]]

    np.testing.assert_array_equal(gather_images(Autoencoded(list(levels))), levels)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_tuples_of_images_and_targets_that_cannot_be_told_apart_are_refused(
    levels: np.ndarray, count: int
) -> None:
    images, targets = list(levels[:count]), list(255 - levels[:count])
    by_image = list(zip(images, targets, strict=True))
    # Arrays (1, 28, 28) may be batches of one too.
    columns = (tuple(image[None] for image in images), tuple(target[None] for target in targets))
    for batch in (by_image, [tuple(images), tuple(targets)], columns):
        with pytest.raises(ImageError, match=r"images\[0\]: tuples of which .* cannot be told apart"):
            gather_images(iter([batch]))
    np.testing.assert_array_equal(gather_images(iter([(tuple(images), tuple(targets))])), levels[:count])


ONE = {
    "array": lambda x: x,
    "column": lambda x: x[None],
    "flat": lambda x: x.reshape(784),
    "tensor": torch.from_numpy,
    "PIL image": Image.fromarray,
    "nested lists": lambda x: x.tolist(),
}


@pytest.mark.parametrize("form", ONE)
def test_one_image(levels: np.ndarray, form: str) -> None:
    np.testing.assert_array_equal(gather_images(ONE[form](levels[2])), levels[2:3])


def test_paths(levels: np.ndarray, paths: list[Path]) -> None:
    np.testing.assert_array_equal(gather_images(paths[3]), levels[3:4])
    np.testing.assert_array_equal(gather_images(str(paths[3])), levels[3:4])
    np.testing.assert_array_equal(gather_images(paths[3].parent), levels)
    # A path that is named twice is two images.
    np.testing.assert_array_equal(gather_images([paths[1], paths[1], levels[0]]), levels[[1, 1, 0]])
    np.save(paths[0].parent / "rows.npy", levels)
    np.testing.assert_array_equal(gather_images(paths[0].parent / "rows.npy"), levels)


def test_files_and_pil_images_are_prepared_alike(paths: list[Path]) -> None:
    rng = np.random.default_rng(1)
    page = np.full((60, 50, 3), 250, np.uint8)
    page[15:45, 20:28] = rng.integers(0, 60, (30, 8, 3))
    Image.fromarray(page).save(paths[0])
    for preparation in (Preparation(), Preparation("resize"), Preparation("mnist", "dark")):
        read = gather_images(paths[0], preparation=preparation)
        np.testing.assert_array_equal(
            gather_images(Image.fromarray(page), preparation=preparation), read, err_msg=str(preparation)
        )
    assert gather_images(paths[0])[0, 14, 14] > 200


def test_files_that_cannot_be_read_are_named(tmp_path: Path, levels: np.ndarray) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"bad\.png: not an image") as caught:
        gather_images([levels[0], tmp_path / "bad.png"])
    assert "\n" not in str(caught.value)
    with pytest.raises(ImageError, match=r"missing\.png: No such file"):
        gather_images(tmp_path / "missing.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="empty: no images in this folder"):
        gather_images(tmp_path / "empty")


def test_an_iterator_is_read_once_and_part_by_part(levels: np.ndarray) -> None:
    given = []

    def loader() -> Iterator[tuple[np.ndarray, int]]:
        for _ in range(3):
            given.append(1)
            yield np.zeros((GROUP, 28, 28), np.uint8), 0

    parts = stream_images(loader())
    assert not given
    for number in range(1, 4):
        assert len(next(parts)) == GROUP
        # One more may be read ahead; never all.
        assert number <= len(given) <= number + 1
    with pytest.raises(StopIteration):
        next(parts)
    assert len(given) == 3


def test_single_images_are_put_together(levels: np.ndarray) -> None:
    parts = list(stream_images(iter(np.zeros((2 * GROUP + 5, 28, 28), np.uint8))))
    assert [len(part) for part in parts] == [GROUP, GROUP, 5]


def test_floats_stay_what_they_are_but_in_a_loader(levels: np.ndarray) -> None:
    between = (levels / 255 * 0.999).astype(np.float32)
    np.testing.assert_array_equal(gather_images(between), between)
    np.testing.assert_array_equal(gather_images(list(between)), between)
    rounded = gather_images(DataLoader(torch.from_numpy(between), batch_size=3))
    assert rounded.dtype == np.uint8
    assert np.abs(rounded / 255 - between).max() <= 0.5 / 255 + 1e-6
    # Streamed they are as they were.
    streamed = np.concatenate(list(stream_images(DataLoader(torch.from_numpy(between), batch_size=3))))
    np.testing.assert_array_equal(streamed, between)


def test_levels_and_floats_together_are_floats(levels: np.ndarray) -> None:
    mixed = gather_images([levels[0], (levels[1] / 255).astype(np.float32)])
    assert mixed.dtype == np.float32
    np.testing.assert_array_equal(mixed, levels[:2].astype(np.float32) / np.float32(255))


COLOURED = {
    "(H, W)": lambda x: x[0, :, :, 0],
    "(H, W, 1)": lambda x: x[0, :, :, :1],
    "(1, H, W)": lambda x: x[0, :, :, 0][None],
    "(H, W, 3)": lambda x: x[0],
    "(H, W, 4)": lambda x: np.concatenate([x[0], np.full_like(x[0, :, :, :1], 255)], 2),
    "(N, H, W)": lambda x: x[:, :, :, 0],
    "(N, H, W, 3)": lambda x: x,
    "(N, 3, H, W)": lambda x: x.transpose(0, 3, 1, 2),
    "(N, 1, H, W)": lambda x: x.transpose(0, 3, 1, 2)[:, :1],
    "list of (H, W)": lambda x: list(x[:, :, :, 0]),
    "list of (3, H, W)": lambda x: list(x.transpose(0, 3, 1, 2)),
    "list of tensors": lambda x: list(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())),
    "PIL images": lambda x: [Image.fromarray(image) for image in x],
    "loader": lambda x: DataLoader(
        Items(list(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))), batch_size=2
    ),
    "floats": lambda x: x / 255,
    "uint16": lambda x: x.astype(np.uint16) * 257,
}


@pytest.mark.parametrize("form", COLOURED)
def test_other_sizes_and_colour_are_prepared(form: str) -> None:
    grey = np.zeros((5, 64, 48), np.uint8)
    grey[:, 10:50, 20:30] = np.random.default_rng(2).integers(100, 256, (5, 40, 10))
    expected = np.stack([preprocess(image, "resize", "light") for image in grey])
    given = COLOURED[form](np.repeat(grey[..., None], 3, 3))
    found = gather_images(given, preparation=RESIZE)
    assert found.dtype == np.uint8
    assert len(found) == (1 if form.startswith("(") and not form.startswith("(N") else 5)
    np.testing.assert_allclose(found.astype(int), expected[: len(found)].astype(int), atol=1)


def test_what_three_maps_are_is_told_by_the_training_images() -> None:
    maps = np.zeros((3, 64, 64), np.uint8)
    assert len(gather_images(maps, preparation=RESIZE)) == 3
    assert len(gather_images(maps, preparation=IN_COLOUR)) == 1
    assert len(gather_images(iter([maps]), preparation=RESIZE)) == 3
    assert len(gather_images([maps], preparation=RESIZE)) == 1


def test_colour_becomes_luma() -> None:
    red = np.zeros((1, 3, 28, 28), np.float32)
    red[:, 0] = 1
    assert (gather_images(red, preparation=RESIZE) == 76).all()


def test_images_of_differing_sizes() -> None:
    shapes: list[tuple[int, ...]] = []
    given = [np.zeros((40, 30), np.uint8), np.zeros((3, 20, 20), np.uint8), Image.new("RGB", (9, 8))]
    assert gather_images(given, preparation=RESIZE, on_prepared=shapes.append).shape == (3, 28, 28)
    assert shapes == [(40, 30), (20, 20, 3), (8, 9, 3)]


def test_a_large_array_is_prepared_part_by_part(levels: np.ndarray) -> None:
    seen: list[tuple[int, ...]] = []
    parts = stream_images(
        np.zeros((GROUP + 3, 28, 28), np.uint8), preparation=RESIZE, on_prepared=seen.append
    )
    assert len(next(parts)) == GROUP
    assert len(seen) <= GROUP + 3
    assert len(next(parts)) == 3


@pytest.mark.parametrize(
    "given",
    [
        np.zeros((64, 64), np.uint8),
        np.zeros((5, 64, 64), np.uint8),
        np.zeros((5, 3, 28, 28), np.uint8),
        np.zeros((28, 28, 3), np.uint8),
        [np.zeros((3, 28, 28), np.uint8)],
        [np.zeros((28, 28), np.uint8), np.zeros((20, 20), np.uint8)],
        iter([np.zeros((2, 3, 32, 32))]),
    ],
)
def test_another_size_or_colour_names_the_way(given: object) -> None:
    with pytest.raises(ImageError, match=r"shape \(.*Detector\.fit\(images, preprocess='resize'\)") as caught:
        gather_images(given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "^normal: NoneType, expected images"),
        (3, "^normal: int, expected images"),
        ({"images": 3}, "^normal: dict, expected images"),
        (b"abc", "^normal: bytes, expected images"),
        ([], "^normal: no images"),
        (iter([]), "^normal: no images"),
        (np.zeros((0, 28, 28), np.uint8), "^normal: no images"),
        ([np.zeros((28, 28), np.uint8), None], r"^normal\[1\]: NoneType, expected images"),
        ([[], []], r"^normal\[0\]: list, expected images"),
        ((np.zeros((5, 28, 28), np.uint8), np.zeros(5, np.uint8)), r"^normal\[5\]: shape \(5,\), expected"),
        ([[1, 2], [3]], "^normal: not an array"),
        (iter([np.zeros((4, 28, 28)), np.full((4, 28, 28), 2.0)]), r"^normal\[4\]: the value 2 lies outside"),
        (iter([np.zeros((4, 28, 28)) - 0.42]), r"^normal\[0\]: .* look normalised by mean and deviation"),
        ([Image.new("L", (0, 0))], r"^normal\[0\]: "),
    ],
)
def test_what_is_no_image_is_refused(given: object, words: str) -> None:
    with pytest.raises(ImageError, match=words) as caught:
        gather_images(given, "normal")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.zeros((2, 5, 40, 40), np.uint8), r"^images: shape \(2, 5, 40, 40\), expected \(H, W\)"),
        (np.zeros((2, 0, 40), np.uint8), r"^images: no images, shape"),
        (np.zeros(5, np.uint8), r"^images: shape \(5,\)"),
        (np.full((3, 40, 40), 200.0), r"^images\[0\]: .*divide levels"),
        (np.full((2, 3, 40, 40), -1.0), r"^images\[0\]: .*normalised"),
        ([np.zeros((40, 40)), np.full((40, 40), np.nan)], r"^images\[1\]: .*not finite"),
        (np.zeros((2, 40, 40), bool), "^images: type bool"),
    ],
)
def test_what_cannot_be_prepared_is_refused(given: object, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        gather_images(given, preparation=RESIZE)


def test_unknown_ways_are_refused(levels: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="unknown preprocess 'stretch'"):
        gather_images([Image.fromarray(levels[0])], preparation=Preparation("stretch"))


def test_what_is_given_is_left_as_it_was(levels: np.ndarray) -> None:
    before = levels.copy()
    levels.flags.writeable = False
    gather_images([levels[0], *levels], preparation=RESIZE)
    gather_images(levels)
    np.testing.assert_array_equal(levels, before)


def test_tensors_are_told_without_torch() -> None:
    import subprocess

    code = "import sys, anomalae.images.sources; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
