"""Ranks the backends that can run a spec, best first, each with its reasons. Pure: no network, no clock, no files.

`rank_backends` judges, `choose_backend` obeys the user. A refused one is neither chosen silently nor skipped silently.
"""

from tuneport.router.choice import BackendChoice, BackendChoiceTokens, DatasetFacts, Machine, Readiness
from tuneport.router.choosing import choose_backend
from tuneport.router.ranking import backend_ranking_key, rank_backends
from tuneport.router.refusals import refuse_backend_for_images

__all__ = [
    "BackendChoice",
    "DatasetFacts",
    "Machine",
    "Readiness",
    "BackendChoiceTokens",
    "choose_backend",
    "backend_ranking_key",
    "rank_backends",
    "refuse_backend_for_images",
]
