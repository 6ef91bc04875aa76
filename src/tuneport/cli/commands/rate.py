"""The command rate: people compare two systems' answers blindly, and what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuneport.cli.listening import open_command_socket, run_command_until_signal, serve_extra_for
from tuneport.cli.views import output

if TYPE_CHECKING:
    from tuneport.scoring.people.answers import RatersAnswerSet
    from tuneport.scoring.people.results import RatingResults, VoteShare

NOTES_TOLD = 20


def rate_command(
    answers: Annotated[
        Path,
        typer.Argument(
            metavar="ANSWERS",
            help='JSON lines: {"prompt": ..., "answer_a": ..., "answer_b": ...}; first, if you like, {"systems": {"a": '
            'NAME, "b": NAME}}.',
            show_default=False,
        ),
    ],
    results: Annotated[bool, typer.Option("--results", help="Show the results instead of opening the page.")] = False,
    sample: Annotated[
        int | None,
        typer.Option(min=1, help="Rate only so many pairs, the same for every rater; give it to --results, too."),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same sample, and each rater the same sides.")] = 0,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8322,
    json_: output.Json = False,
) -> None:
    """Let people compare two systems' answers blindly, on a local page; --results says who won.

    Left and right are shuffled for each rater. Judgements are saved in ANSWERS.ratings.jsonl at once.

    A rater who comes back under the same name goes on at the same pair. Ctrl-C ends the page.
    """
    from tuneport.scoring.people.answers import read_pairs_for_raters
    from tuneport.scoring.people.ratings import ratings_path, read_ratings
    from tuneport.scoring.people.results import compute_rating_results as counted

    file = read_pairs_for_raters(answers)
    if sample is not None:
        file = file.sample(sample, seed=seed)
    if not results:
        _serve(file, seed, port)
        return
    found = counted(file, read_ratings(ratings_path(answers)))
    if not output.print_if_json(found.as_dict()):
        _print(answers, found)


def _serve(file: RatersAnswerSet, seed: int, port: int) -> None:
    with serve_extra_for("rate"):
        from tuneport.serve.local_pages.rating import create_app
    from tuneport.scoring.people.blind import BlindRating
    from tuneport.scoring.people.ratings import RatingFile, ratings_path

    ratings = RatingFile(ratings_path(file.path))
    with ratings.lock_for_writing():
        app = create_app(BlindRating(file, ratings, seed=seed))
        with open_command_socket("127.0.0.1", port) as listening:
            url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
            if not output.print_if_json({"object": "tuneport.rating", "url": url, "ratings": str(ratings.path)}):
                output.console().print(
                    f"[bold]{output.escape_markup(url)}[/bold]  {len(file.pairs_to_judge)} pairs to judge; "
                    "Ctrl-C ends it"
                )
            if file.identical:
                output.print_note(f"{_pairs(len(file.identical))} the same answer twice and are not shown")
            if naming := file.naming():
                output.print_note(
                    f"note: in {len(naming)} pairs an answer names a system, so raters can tell which it is; the first "
                    f"is {naming[0].id}"
                )
            run_command_until_signal(app, listening)
    output.print_note(f"the judgements: {ratings.path}; `tuneport rate {file.path} --results` counts them")


def _print(path: Path, found: RatingResults) -> None:
    console, names = output.console(), {side: output.escape_markup(name) for side, name in found.names.items()}
    a, b = found.names["a"], found.names["b"]
    raters = len(found.raters)
    console.print(
        f"{output.escape_markup(path)}: {found.judged} of {found.pairs} pairs judged by {raters} "
        f"rater{'' if raters == 1 else 's'}, of whom {found.finished} finished"
    )
    if not found.judged:
        console.print(f"Nothing to count yet: `tuneport rate {output.escape_markup(path)}` opens the page.")
        return
    from tuneport.workflows.evaluation.words import format_p_value

    verdict = "No difference shown" if found.preferred == "tie" else f"{names[found.preferred]} is preferred"
    console.print(f"[bold]{verdict}[/bold] (sign test over pairs, {format_p_value(found.p)})", markup=True)
    table = output.console_table(
        "system", "won", "of those decided", "95 %", right=("won", "of those decided"), cut=("system",)
    )
    decided = found.a_wins + found.b_wins
    rate_ = found.b_rate
    if rate_.share is None or rate_.low is None or rate_.high is None:
        table.add_row(a, str(found.a_wins), "-", "-")
        table.add_row(b, str(found.b_wins), "-", "-")
    else:
        table.add_row(
            found.names["a"],
            str(found.a_wins),
            f"{1 - rate_.share:.0%} of {decided}",
            _span(1 - rate_.high, 1 - rate_.low),
        )
        table.add_row(
            found.names["b"], str(found.b_wins), f"{rate_.share:.0%} of {decided}", _span(rate_.low, rate_.high)
        )
    table.add_row("neither", str(found.ties), f"{found.both_bad} both bad" if found.both_bad else "", "")
    console.print(table)
    side = "sides matter: look at the raters below" if found.side_matters else "no bias shown"
    console.print(
        f"The left side was preferred in {_format_vote_share(found.left)} of {found.left.total} preferences: {side}"
    )
    _print_agreement(found)
    _print_raters(found)
    if found.identical:
        output.print_note(f"{_pairs(found.identical)} the same answer twice, which is in no figure")
    if found.outside:
        output.print_note(
            f"{found.outside} judgements are of pairs that are not in the file, or the sample: not counted"
        )
    if found.finished < raters:
        output.print_note(
            "not all raters have finished: stopping as soon as the result pleases finds differences by chance"
        )


def _print_agreement(found: RatingResults) -> None:
    agreement = found.agreement
    if not agreement.pairs or agreement.same is None:
        output.console().print("The raters' agreement is unknown: no pair was judged by two of them.")
        return
    beyond = [
        f"{name} {value:.2f}"
        for name, value in (("Cohen's kappa", agreement.kappa), ("Krippendorff's alpha", agreement.alpha))
        if value is not None
    ]
    output.console().print(
        f"Raters said the same {agreement.same:.0%} of the time, on {agreement.pairs} pairs that several judged; "
        f"{', '.join(beyond) or 'they used one verdict only, so that chance would do as much'}"
    )


def _print_raters(found: RatingResults) -> None:
    a, b = output.escape_markup(found.names["a"]), output.escape_markup(found.names["b"])
    numbers = ("judged", a, b, "tie", "both bad", "left", "agrees", "seconds")
    table = output.console_table("rater", *numbers, right=numbers, cut=("rater", a, b))
    for rater in found.raters:
        table.add_row(
            rater.name,
            str(rater.judged),
            *map(str, (rater.a, rater.b, rater.tie, rater.bad)),
            "-" if rater.left_share is None else f"{rater.left_share:.0%}",
            "-" if rater.agreement is None else f"{rater.agreement:.0%}",
            "-" if rater.median_seconds is None else f"{rater.median_seconds:.0f}",
        )
    console = output.console()
    console.print(table)
    for note in found.notes[:NOTES_TOLD]:
        words = {"a": a, "b": b, "tie": "tie", "bad": "both bad"}[note.verdict.value]
        pair, by, text = (output.escape_markup(each) for each in (note.pair, note.rater, note.text))
        console.print(f"{pair}, {by}, {words}: {text}")
    if len(found.notes) > NOTES_TOLD:
        output.print_note(f"{len(found.notes) - NOTES_TOLD} more notes: --json has all")


def _pairs(count: int) -> str:
    return "1 pair has" if count == 1 else f"{count:,} pairs have"


def _format_vote_share(share: VoteShare) -> str:
    if share.share is None or share.low is None or share.high is None:
        return "none"
    return f"{share.share:.0%} ({_span(share.low, share.high)})"


def _span(low: float, high: float) -> str:
    return f"{low:.0%} to {high:.0%}"
