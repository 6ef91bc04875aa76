"""Ranks the backends that can run a spec, best first, each with its reasons. Pure: no network, no clock, no files.

`rank` judges, `choose` obeys the user. A refused backend is never chosen silently, nor skipped silently.
"""

from tuneport.estimate.cost import Traffic
from tuneport.router.choice import BackendChoice, BackendRefusal, DatasetFacts, Machine, Readiness, TokenCount
from tuneport.router.choosing import choose, refusal_error
from tuneport.router.ranking import order, rank

__all__ = [
    "BackendChoice",
    "DatasetFacts",
    "Machine",
    "Readiness",
    "BackendRefusal",
    "TokenCount",
    "Traffic",
    "choose",
    "order",
    "rank",
    "refusal_error",
]
