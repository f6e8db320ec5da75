"""The report's terms in plain sentences, for readers who are no statisticians."""

import re
from collections.abc import Mapping

from markupsafe import Markup, escape

#: As they stand in the report, to one sentence.
TERMS: Mapping[str, str] = {
    "Phase 2": "The chosen settings of each method, trained again over fresh seeds.",
    "seed": "A number that fixes all chance in a run: initial weights, order and choice of rows.",
    "report set": "Examples that no search has seen; they are scored at the very end only.",
    "search set": "Examples by which hyperparameters are chosen; scores on it are a bit too good.",
    "majority class": "The score of always giving the most frequent class: what needs no learning.",
    "has not learned": "Its interval reaches what an answer without any training scores.",
    "interval": "Where the true value lies in 95 of 100 studies like this one.",
    "beats": "Better by more than chance explains, counting every comparison that is made.",
    "cannot be told apart": "The difference may be chance; it does not mean that both are equal.",
    "Holm": "Makes each p larger because many comparisons are made: one of 20 is small by luck.",
    "p, Holm": "How often chance alone gives such a difference, made larger for their number.",
    "sign flip": "A test that asks how often random signs of the differences do as well.",
    "sign-flip": "A test that asks how often random signs of the differences do as well.",
    "P(better > other)": "How often one run of the better method beats one of the other.",
    "Mann-Whitney": "Counts in how many pairs of runs the first is the better one.",
    "smallest detectable": "The true difference that a study of this size finds in 8 of 10 cases.",
    "crossed random effects": "Both the seeds and the examples are taken as drawn by chance.",
    "paired": "Compared on the same seeds and the same examples.",
    "Interquartile mean": "The mean of the middle half of all runs; outliers do not move it.",
    "standard error": "How far a mean lies from the truth on average, because so few were drawn.",
    "SD": "Standard deviation: how far single runs scatter around their mean.",
    "seed SD": "How far the scores of equal runs scatter because of their seeds alone.",
    "noise floor": "How large differences are that chance alone makes.",
    "default": "The settings that the method's authors published.",
    "S (search)": "How much better the chosen settings are than the published default.",
    "confirmed": "The score of the chosen settings on seeds that the search had not used.",
    "best raw": "The best single trial; it is high by luck too.",
    "optimism": "What the best trial promised too much, as repeating it showed.",
    "Bootstrap": "An interval from drawing the same runs again and again with replacement.",
    "gap by seeds alone": "What the best and the worst of equally good trials differ by.",
    "TF-IDF + logistic regression": "A classical classifier on word counts, without a network.",
    "frozen-encoder probe": "A linear classifier on the untrained model's own features.",
}
_LONGEST_FIRST = sorted(TERMS, key=len, reverse=True)
_PATTERN = re.compile(
    "|".join(rf"(?<![\w-]){re.escape(str(escape(term)))}s?(?![\w-])" for term in _LONGEST_FIRST),
    re.IGNORECASE,
)
_BY_NAME = {str(escape(term)).lower(): meaning for term, meaning in TERMS.items()}


class Explainer:
    """Marks each term where a page uses it first; a pointer on it shows its sentence."""

    def __init__(self) -> None:
        self._seen = set[str]()

    def __call__(self, text: object) -> Markup:
        """Returns a text, escaped unless it is HTML already, with its new terms explained."""
        return Markup(_PATTERN.sub(self._explain, str(escape(text))))

    def _explain(self, found: re.Match[str]) -> str:
        name = found[0].lower()
        meaning = _BY_NAME[name if name in _BY_NAME else name.removesuffix("s")]
        if meaning in self._seen:
            return found[0]
        self._seen.add(meaning)
        return f'<abbr title="{escape(meaning)}">{found[0]}</abbr>'
