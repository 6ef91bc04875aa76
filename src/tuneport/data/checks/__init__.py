"""The checklist: is the dataset good enough to spend money on?"""

from tuneport.data.checks.finding import Finding, Verdict
from tuneport.data.checks.report import CheckReport, check_dataset

__all__ = ["CheckReport", "Finding", "Verdict", "check_dataset"]
