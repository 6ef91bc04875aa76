"""Fine-tune or not: the decision tree over the needs, the attempts so far and the data."""

from tuneport.advisor.advice import Advice, recommend_approach
from tuneport.advisor.pitfalls import Pitfall
from tuneport.advisor.questions import AdvisorQuestion, next_advisor_question
from tuneport.advisor.situation import Approach, Need, Situation, Task, Tried

__all__ = [
    "Advice",
    "Approach",
    "Need",
    "Pitfall",
    "AdvisorQuestion",
    "Situation",
    "Task",
    "Tried",
    "recommend_approach",
    "next_advisor_question",
]

OPEN_TO_OTHER_ROOMS = (
    "pitfalls",
    "questions",
    "situation",
)
"""The files here that other rooms import. The rest may change without a look elsewhere."""
