"""Linear classifiers on fixed features: what fine-tuning has to beat, a model where it does not.

Phase 0 scores them; ``phasewise train`` keeps the one that a search has not beaten.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from phasewise.settings import ModelSettings, TaskSettings
from phasewise.summaries import LinearName
from phasewise.tasks.examples import Example, Feature
from phasewise.tasks.words import VECTORIZER_PATTERN

#: Of the cross-validation that chooses a penalty, and what it chooses from (inverse strengths).
_FOLDS = 5
_PENALTIES: dict[LinearName, Sequence[float]] = {
    "tfidf_logistic_regression": tuple(10 ** (k / 2) for k in range(-4, 7)),
    "frozen_encoder_probe": tuple(10 ** (k / 2) for k in range(-8, 3)),
}


class Rows(NamedTuple):
    """Rows in both forms: TF-IDF reads the texts, the probe the tokenized ones."""

    examples: Sequence[Example]
    features: Sequence[Feature]


def read_rows(
    name: LinearName,
    model: ModelSettings,
    groups: Sequence[Rows],
    *,
    batch_size: int,
    device: Any,
) -> Any:
    """Returns what a linear classifier reads of each group of rows, in order.

    Args:
        name: Which classifier.
        model: Whose embeddings the probe reads.
        groups: Any number of them; the model is loaded once.
        batch_size: Rows of a pass.
        device: Where it runs.

    Raises:
        ConfigError: The model cannot be loaded.
    """
    if name == "tfidf_logistic_regression":
        return [["\n".join(row.texts) for row in group.examples] for group in groups]
    from phasewise.training.probe import embed_features

    embedded = embed_features(
        model,
        [feature for group in groups for feature in group.features],
        batch_size=batch_size,
        device=device,
    )
    return np.split(embedded, np.cumsum([len(group.features) for group in groups])[:-1])


def fit_linear(name: LinearName, inputs: Any, labels: Sequence[int]) -> Any:
    """Returns scikit-learn's pipeline, fitted to what ``read_rows`` gave for the train rows."""
    from sklearn.pipeline import make_pipeline

    features = _vectorizer() if name == "tfidf_logistic_regression" else _scaler()
    return make_pipeline(features, _regression(labels, _PENALTIES[name])).fit(inputs, labels)


def predict_logits(pipeline: Any, inputs: Any, task: TaskSettings) -> NDArray[np.float64]:
    """Returns (inputs, classes); a class the train sample lacks is as good as impossible."""
    probabilities = np.zeros((len(inputs), len(task.labels)))
    probabilities[:, pipeline.classes_] = pipeline.predict_proba(inputs)
    return np.log(np.maximum(probabilities, 1e-20))


def _vectorizer() -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=VECTORIZER_PATTERN)


def _scaler() -> Any:
    from sklearn.preprocessing import StandardScaler

    return StandardScaler()


def _regression(labels: Sequence[int], penalties: Sequence[float]) -> Any:
    """The penalty is chosen by cross-validation, unless a class has a single row.

    An untuned baseline is easily beaten. With the default penalty embeddings overfit (1,000 Rotten
    Tomatoes sentences, MiniLM: .70 of accuracy, .74 with a chosen one) and few texts underfit (200
    questions of seven categories: .51 against .62; means of three draws).
    """
    from sklearn.linear_model import LogisticRegression, LogisticRegressionCV

    folds = min(_FOLDS, int(np.unique(labels, return_counts=True)[1].min()))
    if folds < 2:
        return LogisticRegression(max_iter=1000)
    return LogisticRegressionCV(
        Cs=penalties,
        cv=folds,
        max_iter=1000,
        scoring="neg_log_loss",
        l1_ratios=(0,),
        use_legacy_attributes=False,
    )
