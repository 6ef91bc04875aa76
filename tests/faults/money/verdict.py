"""Judges a case by its ledger and by what the commands said: nothing of tuneport's own is asked."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field

from tests.faults.money.commands import Ran
from tests.faults.money.play import ENDED, Played

CLAIMS = re.compile(
    r"\b(?:no job (?:was|is|has been|has|had)?\s*(?:started|running|created|there)"
    r"|nothing (?:was|has been|had been) (?:started|spent|billed|created)"
    r"|(?:did|does|has|had) not arrive[d]?|never arrived|never started"
    r"|(?:was|were|has|had) not (?:been )?(?:started|created|carried out)"
    r"|(?:took|accepted|carried out) none of)\b",
    re.IGNORECASE,
)
HEDGES = re.compile(
    r"\b(?:if|whether|unless|where|when|that it|may|might|perhaps|seems?|not known|unknown|said)\b[^.;]*$", re.I
)


@dataclass
class Verdict:
    """What went wrong, and how it ended. `started`: how many jobs the ledger has."""

    started: int = 0
    doubled: bool = False
    beyond: bool = False  # doubled, but later than is promised where marks are echoed
    word: bool = False  # doubled on a person's word
    lost: list[str] = field(default_factory=list)
    untrue: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    keyless: bool = False
    asked: bool = False
    once: bool = False

    @property
    def complaints(self) -> list[str]:
        found = [f"doubled: {self.started} jobs"] if self.doubled else []
        found += [f"lost: {job}" for job in self.lost]
        found += ["a create without Idempotency-Key"] if self.keyless else []
        return found + [f"untrue: {line}" for line in self.untrue] + self.other


def judge(played: Played) -> Verdict:
    case, account, row = played.case, played.account, played.row
    ours = account.ours()
    verdict = Verdict(started=len(ours), asked=bool(played.asked))
    # Each word of a person allows one more start, after it.
    words = [moment for moment, said in played.said if said == "not started"]
    starts = Counter(sum(moment < job.at for moment in words) for job in ours)
    if any(number > 1 for number in starts.values()):
        verdict.beyond = case.beyond and case.history and case.knobs.marks == "kept"
        verdict.doubled = not verdict.beyond
    verdict.word = len(ours) > 1 and not verdict.doubled and not verdict.beyond
    verdict.lost = _lost(played, [job.id for job in ours])
    verdict.untrue = [line for ran in played.ran for line in untrue_lines(ran, played)]
    verdict.keyless = any(create.key is None for create in account.creates)
    verdict.other = list(_other(played))
    verdict.once = len(ours) == 1 and row.get("remote_id") == ours[0].id
    return verdict


def _lost(played: Played, ours: list[str]) -> list[str]:
    """Jobs that ran and are neither the row's nor told anywhere; a row that still asks a person has told them."""
    if played.row.get("status") not in ENDED and played.asked:
        return []
    told = "\n".join(ran.text for ran in played.ran)
    return [job for job in ours if job != played.row.get("remote_id") and job not in told]


def untrue_lines(ran: Ran, played: Played) -> list[str]:
    """Sentences that claim that there is no job, though one was started by a create from before that moment."""
    creates = [create for create in played.account.creates if create.phase == 1 and create.at < ran.ended]
    started = [create for create in creates if create.job is not None]
    if not started:
        return []
    text = ran.text.replace("--not-started", "").replace("\\n", "\n")
    found = []
    for claim in CLAIMS.finditer(text):
        begin = text.rfind("\n", 0, claim.start()) + 1
        if not HEDGES.search(text[begin : claim.start()]):
            end = text.find("\n", claim.end())
            found.append(text[begin : end if end >= 0 else None].strip()[:200])
    return list(dict.fromkeys(found))


def _other(played: Played) -> list[str]:
    """Wrong jobs taken, crashes, commands without an end and questions that lack a part."""
    account = played.account
    ours = {job.id for job in account.ours()}
    remote = played.row.get("remote_id")
    found = []
    if remote is not None and remote not in ours:
        found.append(f"took another's job {remote}")
    for ran in played.ran:
        called = " ".join(ran.argv[:2])
        if ran.code is None:
            found.append(f"`{called}` had not ended after {ran.ended - ran.began:.0f} s")
        elif ran.code == 1 or "Traceback" in ran.err or "a bug in tuneport" in ran.err:
            found.append(f"`{called}` ended with {ran.code}: {ran.err.strip()[-200:]}")
    if played.job is None:
        found.append("no job was named by submit")
    elif played.row.get("status") not in ENDED and not played.asked:
        found.append(f"ends {played.row.get('status')} without a question: {played.row.get('note')}")
    for ran in played.asked:
        found += [f"a question without {part}" for part in ("--started", "--not-started", "$") if part not in ran.text]
        if ran.code != 3 and ran.argv[0] in ("submit", "watch"):
            found.append(f"`{ran.argv[0]}` asks and ends with {ran.code}")
    told = "\n".join(ran.text for ran in played.ran)
    left = [job.id for job in account.ours() if not job.cancelled and job.id not in told]
    if played.row.get("status") == "cancelled" and remote is None and left:
        found.append(f"says cancelled, and {', '.join(left)} runs")
    found += [f"a request that the API does not have: {request}" for request in account.strange[:1]]
    if played.said and not played.row.get("remote_id") and played.row.get("status") not in ENDED:
        found.append(f"answered {json.dumps([said for _, said in played.said])}, and it still asks")
    return found
