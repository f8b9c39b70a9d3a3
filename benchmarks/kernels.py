"""What is compiled beside its plain form in torch: CPU microseconds a pair of images, and an image.

    python benchmarks/kernels.py            # --rounds 25

One thread, interleaved, bundled digits; the median of the rounds, with quartiles. What is compiled on first use is
compiled before.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from anomalae import load_dataset
from anomalae.arithmetic import computing
from anomalae.models import bent
from anomalae.models.compiled import pairs
from anomalae.models.views import DESKEWED, NORMALISED, SETTLED

IMAGES, CANDIDATES = 256, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=25)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name, (number, forms) in parts().items():
        times = measured(forms, given.rounds)
        print(name, *(f"{form} {_text(seconds / number)}" for form, seconds in times.items()), sep="  ")


def parts() -> dict[str, tuple[int, dict[str, Callable[[], object]]]]:
    """Return of each part how many pairs or images it is of, and its forms."""
    pictures = np.resize(load_dataset("digits").train.images, (IMAGES, 28, 28))
    images = torch.from_numpy(pictures)[:, None] / 255
    source = SETTLED.source(images)
    kept = (source[:, 0] * 255).round().byte()
    likely = torch.from_numpy(np.random.default_rng(0).integers(0, IMAGES, (IMAGES, CANDIDATES)))
    arrays = source[:, 0].numpy(), kept.numpy(), likely.numpy()
    few = source[:32], kept, likely[:32]
    compared: dict[str, Callable[[], object]] = {
        "torch": lambda: bent.figures(*few),
        "compiled": lambda: pairs.figures(arrays[0][:32], arrays[1], arrays[2][:32]),
    }
    searched: dict[str, Callable[[], object]] = {
        "torch": lambda: bent.edge_numbers(source),
        "compiled": lambda: pairs.edge_numbers(arrays[0]),
    }
    views = {
        f"view {view.name}": (
            IMAGES,
            {"torch": _plainly(view.source, images), "compiled": _calling(view.source, images)},
        )
        for view in (DESKEWED, NORMALISED, SETTLED)
    }
    return {"a pair": (32 * CANDIDATES, compared), "search numbers": (IMAGES, searched), **views}


def _calling(function: Callable[[torch.Tensor], object], images: torch.Tensor) -> Callable[[], object]:
    return lambda: function(images)


def _plainly(function: Callable[[torch.Tensor], object], images: torch.Tensor) -> Callable[[], object]:
    """As `_calling`, in PyTorch: nothing is compiled where the arithmetic is plain."""

    def call() -> object:
        with computing("plain"):
            return function(images)

    return call


def measured(forms: dict[str, Callable[[], object]], rounds: int) -> dict[str, np.ndarray]:
    """Return the CPU seconds that each form took in each round, one after the other in all of them."""
    for form in forms.values():
        form()
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(rounds):
        for name, form in forms.items():
            begun = time.process_time()
            form()
            seconds[name].append(time.process_time() - begun)
    return {name: np.array(each) for name, each in seconds.items()}


def _text(seconds: np.ndarray) -> str:
    low, middle, high = np.quantile(seconds * 1e6, [0.25, 0.5, 0.75])
    return f"{middle:.2f} us ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    main()
