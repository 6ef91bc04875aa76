"""The topics of the inputs, with their shares, and whether there is more than one."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import numpy as np

from tuneport.data.checks.finding import CheckedDatasetExample, CheckEvidence, Finding, Verdict, row_excerpt
from tuneport.data.checks.near.columns import BINS
from tuneport.data.checks.near.minhash import fill_empty_minhash_bins, minhash_signatures
from tuneport.data.checks.rows.language import LanguageMix
from tuneport.data.checks.rows.turns import last_row_user_text
from tuneport.data.checks.rows.words.language_names import LANGUAGE_NAMES
from tuneport.data.rows.text import normalise_record_text, normalised_text_key
from tuneport.data.running.parallel import Row, worker_in_background
from tuneport.installation import install_extra

SAMPLED = 5_000  # inputs that are clustered: those of the smallest hashes, so that the file's order does not matter
CHARACTERS = 500  # of an input's beginning, and of its end, that are looked at: a template fills but one of them
MIN_DISTINCT = 0.5  # share of the inputs
MAX_ALIKE = 0.5  # mean similarity of two inputs drawn at random
TEMPLATED = 0.2  # with this mean similarity, inputs are made from a template
MAX_SHARE = 0.8  # of one topic
MIN_ROWS = 20  # fewer say nothing about topics
MOST_TOPICS = 12
TERMS = 5
MANY = 50_000  # rows, from which on there is enough else to do while topics are looked for
_PAIRS = 20_000


Topics = tuple[list[dict[str, Any]], str]
"""Topics, largest first, and what to install if there are none."""


class DiversityCheck:
    """Draws inputs in each worker; what all have drawn is clustered at the end."""

    def __init__(self) -> None:
        self._drawn: list[tuple[int, str]] = []  # a heap by the negative key, so that the largest key goes first
        self._lines: dict[int, int] = {}  # by key, the first line
        self._rows = 0
        self._languages = LanguageMix()

    def add(self, example: CheckedDatasetExample) -> None:
        self._rows += 1
        self._languages.add(last_row_user_text(example.record))
        text = example.question or example.answer
        self._offer(normalised_text_key(text), example.line, _ends(text))

    def _offer(self, key: int, line: int, text: str) -> None:
        if key in self._lines:
            self._lines[key] = min(line, self._lines[key])
        elif len(self._drawn) < SAMPLED:
            self._lines[key] = line
            heapq.heappush(self._drawn, (-key, text))
        elif -key > self._drawn[0][0]:
            self._lines[key] = line
            del self._lines[-heapq.heapreplace(self._drawn, (-key, text))[0]]

    def state(self) -> Any:
        return self._rows, self._drawn, self._lines, self._languages.state()

    def merge(self, state: Any) -> None:
        rows, drawn, lines, languages = state
        self._rows += rows
        self._languages.merge(languages)
        for negative, text in drawn:
            self._offer(-negative, lines[-negative], text)

    @cached_property
    def mean_similarity(self) -> float:
        """Return the mean similarity of two inputs drawn at random: high if they are made from one template."""
        texts = [text for _, text in sorted(self._drawn)]
        return _mean_similarity(texts) if len(texts) > 1 else 0.0

    @contextmanager
    def cluster_topics(self) -> Iterator[None]:
        """Search the topics of many rows in another process during the block."""
        if self._rows < MANY:
            yield
            return
        with worker_in_background(f"{__name__}:{TopicWorker.__name__}", *self._texts()) as result:
            yield
            self._topics = result()

    @cached_property
    def _topics(self) -> Topics:
        return _clusters(*self._texts())

    def _texts(self) -> tuple[list[str], list[int]]:
        """Return the drawn texts and their lines, in the order of the file."""
        drawn = sorted((self._lines[-negative], text) for negative, text in self._drawn)
        return [text for _, text in drawn], [line for line, _ in drawn]

    def finding(self, distinct: float) -> Finding:
        """Build the finding. `distinct` is the share of inputs that occur once or for the first time."""
        texts, _ = self._texts()
        languages = {name: round(share, 3) for name, share in self._languages.shares.items()}
        details: dict[str, Any] = {"distinct": round(distinct, 3), "languages": languages}
        if not texts:
            return Finding("diversity", Verdict.PASS, "there are no inputs")
        if self._rows > 1 and round(distinct * self._rows) == 1:
            fix = "vary the inputs: a model learns from differences"
            message = "every input is the same"
            return Finding("diversity", Verdict.FAIL, message, fix=fix, count=self._rows, details=details)
        if len(texts) < 2:
            return Finding("diversity", Verdict.PASS, "there is one input only", details=details)
        details["alike"] = alike = round(self.mean_similarity, 3)
        message = f"{distinct:.0%} of the inputs are distinct; two random inputs are {alike:.0%} similar"
        clusters, hint = self._topics
        details["clusters"] = clusters
        if clusters:
            largest = clusters[0]
            message += (
                f"; {len(clusters)} topics, the largest ({', '.join(largest['terms'][:3])}) {largest['share']:.0%}"
            )
        most = list(languages.items())[:3]
        main = ", ".join(f"{LANGUAGE_NAMES[code]} {share:.0%}" for code, share in most)
        message += f"; languages: {main}" if main else ""
        evidence = tuple(
            CheckEvidence((each["line"],), f"{each['share']:.0%} {', '.join(each['terms'])}: {each['example']}")
            for each in clusters
        )
        reasons = []
        if distinct < MIN_DISTINCT:
            reasons.append("most inputs occur several times")
        if alike > MAX_ALIKE:
            reasons.append("the inputs share most of their words")
        if clusters and len(clusters) > 1 and clusters[0]["share"] > MAX_SHARE:
            reasons.append("nearly all is about one topic")
        if not reasons:
            return Finding("diversity", Verdict.PASS, message + hint, evidence, details=details)
        fix = f"{', and '.join(reasons)}: add inputs as varied as those in use"
        return Finding("diversity", Verdict.WARN, message + hint, evidence, fix, self._rows, details)


def _ends(text: str) -> str:
    return text if len(text) <= 2 * CHARACTERS else f"{text[:CHARACTERS]}\n{text[-CHARACTERS:]}"


def _mean_similarity(texts: list[str]) -> float:
    """Estimate the mean similarity of pairs drawn at random from their sketches."""
    table = fill_empty_minhash_bins(minhash_signatures([normalise_record_text(text) for text in texts], BINS))
    draw = np.random.default_rng(0)
    one, other = draw.integers(0, len(texts), (2, _PAIRS))
    different = one != other
    return float((table[one[different]] == table[other[different]]).mean())


class TopicWorker:
    """A worker of `parallel.worker_in_background`."""

    def __init__(self, texts: list[str], lines: list[int], worker: int) -> None:
        self._texts, self._lines = texts, lines

    def add(self, rows: list[Row]) -> None:
        """Do nothing: no rows reach this worker."""

    def result(self) -> Topics:
        return _clusters(self._texts, self._lines)


def _clusters(texts: list[str], lines: list[int]) -> Topics:
    """Cluster by k-means over TF-IDF; no topics without scikit-learn. Uses one thread, so that sums are the same on any
    machine."""
    if len(texts) < MIN_ROWS:
        return [], ""
    if find_spec("sklearn") is None:
        return [], f"; topics need `{install_extra('checks')}`"
    from sklearn.cluster import KMeans
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize
    from threadpoolctl import threadpool_limits  # which scikit-learn needs, too

    words = TfidfVectorizer(
        stop_words="english",
        max_features=4096,
        max_df=0.2,
        min_df=2,
        sublinear_tf=True,
        token_pattern=r"(?u)\b[^\W\d_]{3,}\b",
        dtype=np.float32,
    )
    try:
        weights = words.fit_transform(texts)
    except ValueError:  # no word is in two texts and in few enough to tell any apart
        return [], ""
    rank = min(50, weights.shape[1] - 1, len(texts) - 1)
    if rank < 2:
        return [], ""
    count = max(2, min(MOST_TOPICS, round(math.sqrt(len(texts) / 8))))
    with threadpool_limits(1):
        points = normalize(TruncatedSVD(rank, random_state=0, n_iter=3).fit_transform(weights))
        labels = KMeans(count, n_init=2, random_state=0, max_iter=50).fit(points)
    names = words.get_feature_names_out()
    overall = np.asarray(weights.mean(axis=0)).ravel()
    found = []
    for topic in range(count):
        members = np.flatnonzero(labels.labels_ == topic)
        if not len(members):
            continue
        # What marks a topic is what it has more of than all.
        stands_out = np.asarray(weights[members].mean(axis=0)).ravel() - overall
        terms = [str(names[index]) for index in np.argsort(-stands_out)[:TERMS] if stands_out[index] > 0]
        middle = members[np.argmax(points[members] @ labels.cluster_centers_[topic])]
        found.append(
            {
                "terms": terms,
                "rows": len(members),
                "share": round(len(members) / len(texts), 3),
                "line": lines[middle],
                "example": row_excerpt(texts[middle]),
            }
        )
    return sorted(found, key=lambda each: -each["rows"]), ""
