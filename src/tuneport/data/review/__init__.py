"""Records judged by a person: the verdicts beside a dataset, and the local page for them."""

from tuneport.data.review.verdicts import ReviewDecision, ReviewVerdict, read_review_verdicts, record_hash, with_answer

__all__ = ["ReviewDecision", "ReviewVerdict", "record_hash", "read_review_verdicts", "with_answer"]
