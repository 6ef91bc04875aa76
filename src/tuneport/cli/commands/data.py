"""The commands for datasets: check, review, clean, preview, split, convert."""

from __future__ import annotations

import secrets
import signal
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from tuneport.cli.listening import open_command_socket, run_command_until_signal, serve_extra_for
from tuneport.cli.outputs import Force, refuse_existing_outputs
from tuneport.cli.reading import READS, TRAINS, takes_reading_options
from tuneport.cli.views import output
from tuneport.data.formats import FORMATS
from tuneport.data.rows.reading_options import ReadingOptions
from tuneport.errors import DatasetError

DATA = "A file (.jsonl, .json, .csv, .tsv, .parquet, .txt, .md; .gz, .zst), a folder or hf://owner/name."
TO = f"The format to write: {', '.join(FORMATS)}."
OUTPUT = "The file to write: .jsonl, .json, .csv, .tsv (each also .gz, .zst) or .parquet."

Task = Annotated[
    str | None,
    typer.Option("--task", help="classification, extraction, style, domain or code. Default: guessed from the data."),
]
Model = Annotated[
    str | None, typer.Option("--model", "-m", help="Count tokens as this model does, against its context.")
]
Backend = Annotated[
    str | None, typer.Option("--backend", "-b", help="The model's backend. Default: the first that has it.")
]


@takes_reading_options(*TRAINS)
def check_command(
    dataset: Annotated[Path, typer.Argument(metavar="DATA", help=DATA, show_default=False)],
    validation: Annotated[Path | None, typer.Option(help="A held-out file; looked at for leaks.")] = None,
    task: Task = None,
    model: Model = None,
    backend: Backend = None,
    context: Annotated[int | None, typer.Option(min=1, help="Tokens of one record; default: the model's.")] = None,
    reading: ReadingOptions = ReadingOptions(),
    allow_large: output.AllowLarge = False,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write the report, with charts.")] = None,
    force: Force = False,
    all_: Annotated[bool, typer.Option("--all", help="Show what the checks say that passed, too.")] = False,
    json_: output.Json = False,
) -> None:
    """Check a dataset before you spend money on it. Exit code 2 if something must be fixed."""
    from tuneport.data.dataset import Dataset
    from tuneport.data.running.underway import report_data_activity
    from tuneport.workflows.check import check as run

    data = Dataset(dataset, **vars(reading))
    if html is not None:
        read = [*data.files, *([] if validation is None else Dataset(validation).files)]
        refuse_existing_outputs([html], read, force=force)
    try:
        with report_data_activity(f"checking {dataset}"):
            report = run(data, model=model, backend=backend, validation=validation, task=task, context=context)
    except DatasetError as error:
        for problem in error.problems[1:]:
            output.print_note(str(problem))
        raise error.listed() from error
    for note in report.notes:
        output.print_note(f"note: {note}")
    if html is not None:
        from tuneport.workflows.checking.page import write_check_html

        write_check_html(report, html)
        output.print_note(f"the report: {html}")
    if not output.print_if_json(report.as_dict()):
        from tuneport.cli.views.check import print_check_report

        print_check_report(report, every=all_)
    if not report.ok:
        raise typer.Exit(2)


@takes_reading_options(*READS)
def review_command(
    dataset: Annotated[Path, typer.Argument(metavar="DATA", help="The file to review.", show_default=False)],
    sample: Annotated[int, typer.Option(min=1, max=10_000, help="How many records to show.")] = 50,
    seed: Annotated[int, typer.Option(help="The same seed draws the same records.")] = 0,
    flagged: Annotated[
        Path | None, typer.Option("--flagged", metavar="REPORT", help="First those in this `check --json` report.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 0,
    remote_pictures: Annotated[
        bool, typer.Option("--remote-pictures", help="Load pictures from the addresses that the records name.")
    ] = False,
    reading: ReadingOptions = ReadingOptions(),
    allow_large: output.AllowLarge = False,
    json_: output.Json = False,
) -> None:
    """Accept, reject or edit a sample of records on a local page; the verdicts are saved in DATA.review.jsonl."""
    with serve_extra_for("review"):
        from tuneport.serve.local_pages.review import create_app
    from tuneport.data.dataset import Dataset
    from tuneport.data.review.session import ReviewSession, read_check_flags

    flags = {} if flagged is None else read_check_flags(flagged)
    session = ReviewSession(Dataset(dataset, **vars(reading)), sample=sample, seed=seed, flags=flags)
    token = secrets.token_urlsafe(24)
    end = partial(signal.raise_signal, signal.SIGINT)  # as Ctrl-C, after the answer
    app = create_app(session, token, finish=end, remote_pictures=remote_pictures)
    with open_command_socket("127.0.0.1", port) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/{token}/"
        output.print_note(f"open {url} (Ctrl-C ends the review; start it again to continue)")
        run_command_until_signal(app, listening)
    summary = session.summary()
    if output.print_if_json(summary.as_dict()):
        return
    output.print_line(
        f"{summary.judged} of {summary.sample} judged: {summary.accepted} accepted, {summary.rejected} rejected, "
        f"{summary.edited} edited; the verdicts: {summary.verdicts}"
    )


@takes_reading_options(*READS)
def clean_command(
    dataset: Annotated[Path, typer.Argument(metavar="DATA", help=DATA, show_default=False)],
    out: Annotated[Path, typer.Option("--output", "-o", help="The file to write (.jsonl).", show_default=False)],
    drop: Annotated[
        list[str] | None, typer.Option("--drop", metavar="KIND", help="Also remove this kind, e.g. answers.refusal.")
    ] = None,
    keep: Annotated[
        list[str] | None, typer.Option("--keep", metavar="KIND", help="Keep this kind, e.g. duplicates.near.")
    ] = None,
    redact: Annotated[bool, typer.Option("--redact", help="Replace personal data by placeholders.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Decode wrongly decoded text (mojibake) again.")] = False,
    review: Annotated[
        Path | None, typer.Option("--review", metavar="FILE", help="Apply the verdicts of `tuneport review`.")
    ] = None,
    validation: Annotated[Path | None, typer.Option(help="A held-out file; what leaks into it is removed.")] = None,
    task: Task = None,
    reading: ReadingOptions = ReadingOptions(),
    allow_large: output.AllowLarge = False,
    force: Force = False,
    json_: output.Json = False,
) -> None:
    """Remove duplicates, empty answers and broken rows; a log says what was removed or changed, and why.

    Default: rows that cannot be parsed, empty or untrained answers, duplicates, and leaks into the hold-out.
    """
    from tuneport.data.checks.kinds import KINDS
    from tuneport.data.clean import clean as run
    from tuneport.data.clean import clean_log
    from tuneport.data.dataset import Dataset

    data = Dataset(dataset, **vars(reading))
    refuse_existing_outputs([out, clean_log(out)], data.files, force=force)
    made = run(
        data,
        out,
        validation=validation,
        task=task,
        drop=drop or (),
        keep=keep or (),
        redact=redact,
        repair=repair,
        review=review,
    )
    if output.print_if_json(made.as_dict()):
        return
    for note in made.notes:
        output.print_note(f"note: {note}")
    for kind, count in made.why.items():
        output.print_note(f"{count:>8,}  {kind:<22} {KINDS.get(kind, '')}".rstrip())
    for example in made.repairs:
        output.print_note(f"          {example['at']}: {example['before']} is now {example['after']}")
    rows = output.counted(made.rows, "record")
    output.print_line(f"{made.written:,} of {rows} kept, {made.changed:,} of them changed: {made.output}")
    output.print_line(f"{made.removed:,} removed; what and why: {made.log}")


@takes_reading_options(*TRAINS)
def preview_command(
    dataset: Annotated[Path, typer.Argument(metavar="DATA", help="The training file.", show_default=False)],
    model: Annotated[str, typer.Option("--model", "-m", help="An alias, a weights name or a provider's model id.")],
    backend: Annotated[
        str | None, typer.Option("--backend", "-b", help="Default: TUNEPORT_BACKEND, ..., else one that has the model.")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, max=1000, help="How many records to show.")] = 3,
    line: Annotated[int | None, typer.Option(min=1, help="Start at this line.")] = None,
    max_length: Annotated[
        int | None, typer.Option(min=1, help="Longest record in tokens, as the hyperparameter max_length.")
    ] = None,
    loss_on: Annotated[
        Literal["assistant", "last", "completion"],
        typer.Option(help="The local option: assistant, last (the last answer) or completion."),
    ] = "assistant",
    tokens: Annotated[bool, typer.Option("--tokens", help="Show each token with its number.")] = False,
    reading: ReadingOptions = ReadingOptions(),
    allow_large: output.AllowLarge = False,
    json_: output.Json = False,
) -> None:
    """Show exactly what is trained on: tokens and which are in the loss, or the file as it will be uploaded."""
    from tuneport.data.dataset import Dataset
    from tuneport.workflows.preview import preview as run

    made = run(
        Dataset(dataset, **vars(reading)),
        model=model,
        backend=backend,
        rows=rows,
        line=line,
        max_length=max_length,
        loss_on=loss_on,
    )
    if output.print_if_json(made.as_dict()):
        return
    from tuneport.cli.commands.preview import print_preview

    print_preview(made, tokens=tokens)


@takes_reading_options(*READS)
def split_command(
    dataset: Annotated[Path, typer.Argument(metavar="DATA", help=DATA, show_default=False)],
    share: Annotated[float, typer.Option(help="Share of rows to hold out; 0.1 to 0.2 is usual.")] = 0.1,
    seed: Annotated[int, typer.Option(help="The same seed draws the same rows.")] = 0,
    out: Annotated[Path, typer.Option("--output", "-o", help="The folder to write into.")] = Path("."),
    reading: ReadingOptions = ReadingOptions(),
    allow_large: output.AllowLarge = False,
    force: Force = False,
    json_: output.Json = False,
) -> None:
    """Hold rows out for validation, by class; rows with the same or nearly the same input stay on one side."""
    from tuneport.data.dataset import Dataset
    from tuneport.data.split import split as run
    from tuneport.data.split import split_files

    data = Dataset(dataset, **vars(reading))
    refuse_existing_outputs(split_files(data, out), data.files, force=force)
    made = run(data, share, seed, output=out)
    if output.print_if_json(made.as_dict()):
        return
    output.print_line(f"{output.counted(made.train_rows, 'record')} to train on: {made.train}")
    output.print_line(f"{output.counted(made.validation_rows, 'record')} held out: {made.validation}")


@takes_reading_options(*READS)
def convert_command(
    dataset: Annotated[Path, typer.Argument(metavar="DATA", help=DATA, show_default=False)],
    to: Annotated[str, typer.Option("--to", help=TO, show_default=False)],
    out: Annotated[Path, typer.Option("--output", "-o", help=OUTPUT, show_default=False)],
    reading: ReadingOptions = ReadingOptions(),
    allow_large: output.AllowLarge = False,
    allow_loss: Annotated[
        bool, typer.Option("--allow-loss", help="Convert anyway: drop what the target format cannot hold.")
    ] = False,
    inline_images: Annotated[
        bool, typer.Option("--inline-images", help="Read pictures that are named by a path into the rows.")
    ] = False,
    image_folder: Annotated[
        Path | None,
        typer.Option("--image-folder", metavar="DIR", help="Where they are, and none is read from elsewhere."),
    ] = None,
    force: Force = False,
    json_: output.Json = False,
) -> None:
    """Write a dataset in another format. It stops if something would be lost, and lists it."""
    from tuneport.data.conversion.convert import convert as run
    from tuneport.data.dataset import Dataset

    data = Dataset(dataset, **vars(reading))
    refuse_existing_outputs([out], data.files, force=force)
    report = run(data, to, out, allow_loss=allow_loss, inline_images=inline_images, image_folder=image_folder)
    if output.print_if_json(report.as_dict()):
        return
    for loss in report.losses:
        output.print_note(f"lost: {loss}")
    for note in report.notes:
        output.print_note(f"note: {note}")
    output.print_line(
        f"{output.counted(report.rows, 'record')} from {report.source_format} to {report.target_format}: {out}"
    )
