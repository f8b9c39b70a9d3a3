"""Studies: questions answered by experiment. Each is a grid of independent trainings, a table, figures, and words.

The questions are those of a lecture note on autoencoders. A study's module is imported when it is asked for.
"""

from __future__ import annotations

from importlib import import_module

from anomalae.errors import ConfigError
from anomalae.experiments.studies.base import Study

# The question of each, by name; its module holds STUDY.
QUESTIONS = {
    "one-dimension": "Can an embedding of one dimension learn one class, but not two?",
    "latent-dim": "How wide should the embedding be, and what does a wrong width cost?",
    "zero-loss": "Can the loss of an autoencoder be zero, and what does it detect then?",
    "loss": "Does it matter which loss is taken: squared error, Bernoulli, smooth, direction?",
    "bounds": "How far is the ELBO below log p(x), why, and do more samples close the gap?",
    "generate-or-rebuild": "Does a VAE generate, or does it only rebuild, or copy?",
    "selection": "Can settings be chosen with no anomalies at all?",
    "seeds": "How much of a difference between two recipes is luck?",
    "few-normals": "How many normal images are needed?",
    "contamination": "What do anomalies hidden among the training images cost?",
    "corruptions": "Which corruptions does a detector call anomalous, and which of its scores see them?",
    "ablation": "What does each part of a detector give?",
}

# Cells of the full study on MNIST, and seconds of work of all together, as its page in reports/studies says.
PUBLISHED = {
    "one-dimension": (273, 10_400),
    "latent-dim": (198, 4_800),
    "zero-loss": (68, 6_200),
    "loss": (100, 3_400),
    "bounds": (28, 3_500),
    "generate-or-rebuild": (28, 1_300),
    "selection": (130, 1_600),
    "seeds": (76, 3_100),
    "few-normals": (720, 6_300),
    "contamination": (300, 2_100),
    "corruptions": (60, 1_100),
    "ablation": (200, 5_100),
}


def load_study(name: str) -> Study:
    """Return a study by its name. ConfigError for another one, with those there are.

    >>> load_study("latent-dim").question
    'How wide should the embedding be, and what does a wrong width cost?'
    """
    if name not in QUESTIONS:
        raise ConfigError(
            f"study {name!r}: must be one of {', '.join(QUESTIONS)}", unknown=name, known=QUESTIONS
        )
    study: Study = import_module(f"{__name__}.{name.replace('-', '_')}").STUDY
    return study
