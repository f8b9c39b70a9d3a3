"""What an exported model's inputs and outputs are called: the contract of its file."""

from __future__ import annotations

# Of the graph. Runtimes since 2023 have it: onnxruntime 1.17 and newer.
OPSET = 20
# Canonical images, uint8 (N, 28, 28), of any number N.
IMAGES = "images"
# False-alarm level, float64 (); left out it is the one of the export.
ALPHA = "alpha"
# float64 (N,), float64 (N,) and bool (N,).
SCORE, P_VALUE, FLAGGED = "score", "p_value", "flagged"
# float32 (N, 28, 28) each: laid over the image, in [0, 1]; signed terms; what the first network is shown.
RECONSTRUCTION, HEATMAP, SEEN = "reconstruction", "heatmap", "seen"
# The first network's code, of a density the mean of its posterior, float32 (N, latent_dim).
LATENT = "latent"
# Scores that p-values are ranks among, ascending, float64 (n,): the same for all images.
CALIBRATION = "calibration"
# At alpha: the score above which an image is flagged, infinite where none can be, and what the absolute terms of a
# heatmap sum to there, float64 () each.
THRESHOLD, HEAT_LEVEL = "threshold", "heat_level"
# The nearest training images as they look in their view, uint8 (N, count, 28, 28); only of a run with neighbours.
NEAREST = "nearest"
# Scores by the networks of each fold, float64 (N, folds); only of a run of folds, whose `score` is a rank.
FOLD_SCORES = "fold_scores"
OUTPUTS = (
    SCORE, P_VALUE, FLAGGED, RECONSTRUCTION, HEATMAP, SEEN, LATENT, CALIBRATION, THRESHOLD, HEAT_LEVEL, NEAREST,
    FOLD_SCORES,
)  # fmt: skip
# Those that not all models have.
OF_SOME = (NEAREST, FOLD_SCORES)
# Of a decoder: codes, float32 (N, latent_dim), and the images of them in the first network's view, (N, 28, 28).
CODES, DECODED = "codes", "decoded"
# The key of the metadata that holds what is told of the model, as JSON.
METADATA = "anomalae"
# The key of the metadata that holds what `digests` found of the rest of the file.
DIGEST = "anomalae_sha256"
# What is told where there is such a digest, so that it is missed where it was lost.
DIGESTED = "digest"
# Of these metadata.
FORMAT_VERSION = 1
# Standard deviations of the calibration scores by which a score of the model may differ from the detector's.
TOLERANCE = 1e-3
