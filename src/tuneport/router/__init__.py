"""Which backends can run a spec, best first, each with its reasons. Pure: no network, no clock, no files.

`rank` judges, `choose` obeys the user. A refused backend is never chosen silently, nor skipped silently.
"""

from tuneport.estimate.cost import Traffic
from tuneport.router.choice import Choice, Dataset, Machine, Readiness, Refusal, TokenCount
from tuneport.router.choosing import choose, refusal_error
from tuneport.router.ranking import order, rank

__all__ = [
    "Choice",
    "Dataset",
    "Machine",
    "Readiness",
    "Refusal",
    "TokenCount",
    "Traffic",
    "choose",
    "order",
    "rank",
    "refusal_error",
]
