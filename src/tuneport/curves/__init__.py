"""The verdict on a job's loss curve: overfitting, and what else goes wrong or well. Pure: points in, a verdict out."""

from tuneport.curves.judging import judge_curve
from tuneport.curves.series import build_curve
from tuneport.curves.verdict import CurveFinding, CurveForgetting, CurveVerdict

__all__ = ["CurveVerdict", "CurveFinding", "CurveForgetting", "build_curve", "judge_curve"]
