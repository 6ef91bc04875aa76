"""Is each class of a classification well represented?"""

from __future__ import annotations

from math import log2

from tuneport.data.checks.finding import CheckEvidence, Finding, Verdict
from tuneport.data.checks.rows.task import MAX_CLASSES, DatasetTaskGuess
from tuneport.formatting import counted

MIN_EVENNESS = 0.75  # entropy over its maximum
MAX_RATIO = 10  # rows of the largest class over rows of the smallest
MIN_ROWS = 5  # of any class


def check_class_balance(guess: DatasetTaskGuess, task: str | None) -> Finding:
    if (task or guess.name) != "classification":
        return Finding("classes", Verdict.PASS, "the answers are not classes, so there is nothing to balance")
    classes = guess.classes
    total = sum(classes.values())
    if not classes:
        message = "every answer is too long to be a class"
        fix = "let each answer be the name of its class alone, or choose another task"
        return Finding("classes", Verdict.FAIL, message, fix=fix, count=guess.rows)
    left_out = guess.rows - total
    why = f"beyond the {MAX_CLASSES:,} classes that are kept, or" if len(classes) == MAX_CLASSES else "left out as"
    without = f"; {counted(left_out, 'record')} {why} too long to be a class" if left_out else ""
    if len(classes) < 2:
        every = "every short answer" if left_out else "every answer"
        message = f"{every} is the same: {next(iter(classes))!r}{without}"
        return Finding("classes", Verdict.FAIL, message, fix="add the other classes", count=total)
    entropy = -sum(count / total * log2(count / total) for count in classes.values())
    evenness = entropy / log2(len(classes))
    (largest, most), (rarest, least) = next(iter(classes.items())), list(classes.items())[-1]
    details = {
        "classes": classes,
        "left_out": left_out,
        "entropy_bits": round(entropy, 3),
        "evenness": round(evenness, 3),
    }
    shape = (
        f"{len(classes)} classes, entropy {entropy:.2f} of {log2(len(classes)):.2f} bits; "
        f"largest {largest!r} {most:,} ({most / total:.0%}), rarest {rarest!r} {least:,}{without}"
    )
    if evenness >= MIN_EVENNESS and most <= MAX_RATIO * least and least >= MIN_ROWS:
        return Finding("classes", Verdict.PASS, shape, details=details)
    rare = [name for name, count in classes.items() if count * MAX_RATIO < most or count < MIN_ROWS]
    evidence = tuple(CheckEvidence((), f"{name!r}: {classes[name]}") for name in rare[:10])
    fix = "add examples of the rare classes, or merge them; a misspelt label counts as a class"
    return Finding("classes", Verdict.WARN, shape, evidence, fix, count=len(rare), details=details)
