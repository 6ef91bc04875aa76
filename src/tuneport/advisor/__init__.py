"""Fine-tune or not: the reference card's decision tree over what is asked for, what was tried, what data there is."""

from tuneport.advisor.advice import Advice, advise
from tuneport.advisor.options import Option
from tuneport.advisor.pitfalls import Pitfall
from tuneport.advisor.questions import Question, next_question
from tuneport.advisor.situation import Approach, Need, Situation, Task, Tried

__all__ = [
    "Advice",
    "Approach",
    "Need",
    "Option",
    "Pitfall",
    "Question",
    "Situation",
    "Task",
    "Tried",
    "advise",
    "next_question",
]
