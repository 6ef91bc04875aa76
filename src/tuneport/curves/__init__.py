"""What a job's loss curve says: overfitting, and what else goes wrong or well. Pure: points in, a verdict out."""

from tuneport.curves.judging import judge
from tuneport.curves.series import Curve, curve_of
from tuneport.curves.verdict import CurveVerdict, Finding, Forgetting

__all__ = ["Curve", "CurveVerdict", "Finding", "Forgetting", "curve_of", "judge"]
