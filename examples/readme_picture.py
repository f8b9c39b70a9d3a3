"""Makes docs/threes.png, the picture in the README, from the bundled digits: python examples/readme_picture.py"""

from pathlib import Path

import matplotlib
import numpy as np

from anomalae import Detector, load_dataset
from anomalae.plots import gray, heat, heat_scale

matplotlib.use("Agg")
from matplotlib import pyplot as plt

NORMAL = 3


def main() -> None:
    split = load_dataset("digits").one_class(normal=[NORMAL], seed=0)
    detector = Detector(seed=0, threads=1)
    detector.fit(split.train.images, split.validation.images, split.calibration.images)
    shown = [int(np.flatnonzero(split.test.labels == digit)[0]) for digit in range(10)]
    images = split.test.images[shown]
    p_values, flags = detector.p_values(images), detector.flags(images)
    scale = heat_scale(detector.heatmap_level())
    figure, axes = plt.subplots(2, 5, figsize=(13, 2.7), layout="constrained")
    panels = zip(images, detector.reconstruct(images), detector.heatmap(images), strict=True)
    for ax, (image, rebuilt, terms), p, flag in zip(axes.flat, panels, p_values, flags, strict=True):
        gap = np.full((28, 1, 3), 255, np.uint8)
        ax.imshow(np.concatenate([gray(image), gap, gray(rebuilt), gap, heat(terms, scale)], axis=1))
        colour, verdict = ("#b2182b", "flagged") if flag else ("#333333", "passes")
        ax.set_title(f"{verdict}, p = {p:.3f}", color=colour, fontsize=12)
        ax.axis("off")
    target = Path(__file__).parent.parent / "docs" / "threes.png"
    figure.savefig(target, dpi=100)
    print(target)


if __name__ == "__main__":
    main()
