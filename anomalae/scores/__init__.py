"""How far an image is from what its network expects: each score an object, higher = more anomalous.

To add one, write it in the module where it belongs and put it into that module's SCORES.
"""

from anomalae.scores import density, hidden_activations, reconstruction
from anomalae.scores.base import Arrays, Bound, Evidence, Score

# In the order in which tables have them.
SCORES: dict[str, Score] = {
    score.name: score for score in (*density.SCORES, *reconstruction.SCORES, *hidden_activations.SCORES)
}

__all__ = ["SCORES", "Arrays", "Bound", "Evidence", "Score"]
