"""The commands by group: the module that has each, its line in `tuneport --help`, and an example.

The table is here so that one command imports no other, and the list of all of them imports none.
"""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """A command's module in `commands/`, which has it as `NAME_command` or `NAME_group`, its group in the list, its
    line there, and an example for its own help."""

    module: str
    group: str
    line: str
    example: str


COMMANDS: dict[str, Command] = {
    "check": Command(
        "data",
        "Data",
        "Check a dataset before you spend money on it.",
        "check train.jsonl -m llama-3.1-8b-instruct",
    ),
    "review": Command(
        "data", "Data", "Accept, reject or edit a sample of records on a local page.", "review train.jsonl --sample 50"
    ),
    "clean": Command(
        "data",
        "Data",
        "Remove duplicates, empty answers and broken rows, with a log.",
        "clean train.jsonl -o clean.jsonl",
    ),
    "preview": Command(
        "data",
        "Data",
        "Show exactly what is trained on, or the file that is uploaded.",
        "preview train.jsonl -m llama-3.1-8b-instruct",
    ),
    "split": Command(
        "data", "Data", "Hold rows out for validation, by class and without leaks.", "split train.jsonl --share 0.1"
    ),
    "convert": Command(
        "data",
        "Data",
        "Write a dataset in another format; lists what would be lost.",
        "convert train.jsonl --to openai -o openai.jsonl",
    ),
    "label": Command(
        "label",
        "Data",
        "Let a large model answer, to tune a small one on its answers.",
        "label prompts.jsonl -m anthropic/claude-haiku-4-5 -o labelled.jsonl",
    ),
    "advise": Command(
        "advise",
        "Decide",
        "Recommend fine-tuning, a prompt, examples or retrieval.",
        "advise train.jsonl --need style --requests 20k",
    ),
    "compare": Command(
        "costs",
        "Decide",
        "Compare the cost of training and of a month of inference.",
        "compare train.jsonl -m llama-3.1-8b-instruct",
    ),
    "models": Command(
        "models",
        "Decide",
        "List what can be tuned where, and which weights are here.",
        "models --backend together",
    ),
    "plan": Command(
        "plan",
        "Decide",
        "Plan a run: settings, memory, fitting GPUs, duration.",
        "plan train.jsonl -m llama-3.1-8b-instruct",
    ),
    "submit": Command(
        "submit",
        "Train",
        "Start a fine-tuning job on any backend.",
        "submit train.jsonl -m llama-3.1-8b-instruct",
    ),
    "jobs": Command("jobs", "Train", "List the jobs, with their current state at the backends.", "jobs --limit 50"),
    "show": Command("jobs", "Train", "Show one job: its settings, its state and its results.", "show job-1728e192f159"),
    "watch": Command(
        "jobs", "Train", "Follow a job, or all, to the end; continue interrupted ones.", "watch job-1728e192f159"
    ),
    "logs": Command("jobs", "Train", "Print a job's events, oldest first.", "logs job-1728e192f159"),
    "metrics": Command("jobs", "Train", "Print the loss curve and its verdict.", "metrics job-1728e192f159"),
    "cancel": Command("job_actions", "Train", "Stop a job. Does nothing if it has ended.", "cancel job-1728e192f159"),
    "pause": Command("job_actions", "Train", "Pause a job, if its backend can.", "pause job-1728e192f159"),
    "resume": Command("job_actions", "Train", "Continue a paused job.", "resume job-1728e192f159"),
    "resolve": Command(
        "job_actions",
        "Train",
        "Say whether a job runs, when the answer to its start was lost.",
        "resolve job-1728e192f159 --not-started",
    ),
    "delete": Command(
        "job_actions", "Train", "Delete the tuned model at its backend, for good.", "delete job-1728e192f159"
    ),
    "checkpoints": Command(
        "job_actions", "Train", "List the checkpoints that the backend keeps of a job.", "checkpoints job-1728e192f159"
    ),
    "chat": Command(
        "chat", "Use", "Talk to a tuned model, or to a base model.", "chat job-1728e192f159 'Where is my order?'"
    ),
    "eval": Command(
        "evaluate",
        "Use",
        "Measure models on rows that are proved to be new to them.",
        "eval test.jsonl base job-1728e192f159",
    ),
    "rate": Command("rate", "Use", "Let people compare two systems' answers blindly.", "rate answers.jsonl"),
    "download": Command(
        "weights", "Use", "Download the tuned weights into a folder.", "download job-1728e192f159 -o weights"
    ),
    "deploy": Command(
        "deployments",
        "Use",
        "Start an endpoint for a tuned model; costs money while up.",
        "deploy job-1728e192f159 --wait",
    ),
    "undeploy": Command(
        "deployments", "Use", "Stop an endpoint, so that it costs nothing more.", "undeploy endpoint-8d2f"
    ),
    "deployments": Command("deployments", "Use", "List the running endpoints, with their cost.", "deployments"),
    "files": Command("files", "Use", "List the files at the providers, or delete some.", "files --unused"),
    "demo": Command("demo", "Operate", "Tune and measure a small model here: no key, three minutes.", "demo"),
    "serve": Command("serve", "Operate", "Run the gateway: OpenAI's API over any backend.", "serve --port 8000"),
    "token": Command(
        "token", "Operate", "Create, list and revoke tokens of the gateway.", "token create alice --scope submit"
    ),
    "webhook": Command("webhooks", "Operate", "Set up, test and resend signed webhooks.", "webhook test environment"),
    "audit": Command(
        "token",
        "Operate",
        "Show who changed what, costs of jobs, and who used chat tokens.",
        "audit --since 2026-11-26",
    ),
    "backends": Command("backends", "Operate", "List the backends: configured, default, until when.", "backends"),
    "doctor": Command("backends", "Operate", "Check this machine, the store and every backend.", "doctor"),
    "store": Command(
        "store", "Operate", "Show the store's version and size; upgrade or downgrade it.", "store upgrade"
    ),
    "migrate": Command(
        "migrate",
        "Operate",
        "Leave a provider: carry its jobs over to another backend.",
        "migrate --from openai --to together",
    ),
}
"""The commands, in the order of the list. A line fits 80 columns beside the command's name."""

GROUPS: dict[str, str] = {
    "Data": "check",
    "Decide": "compare",
    "Train": "submit",
    "Use": "eval",
    "Operate": "demo",
}
"""The groups, each with the command that is its example in the list."""

OTHER_WORDS: dict[str, str] = {
    **dict.fromkeys(
        ("train", "tune", "finetune", "fine-tune", "fit", "run", "create", "start"),
        "`tuneport submit DATA --model MODEL` starts a job",
    ),
    "help": "`tuneport --help` lists the commands, `tuneport COMMAND --help` shows one",
    **dict.fromkeys(("list", "ls", "ps"), "`tuneport jobs` lists the jobs"),
    "status": "`tuneport show JOB` shows a job, `tuneport jobs` lists them",
    **dict.fromkeys(("test", "evaluate", "score"), "`tuneport eval TEST base JOB` measures a tuned model"),
    **dict.fromkeys(("infer", "predict", "ask", "generate", "complete"), "`tuneport chat JOB` asks a tuned model"),
    **dict.fromkeys(("estimate", "cost", "price"), "`tuneport compare DATA --model MODEL` compares the costs"),
    **dict.fromkeys(("login", "auth", "init"), "`tuneport doctor` says which keys are missing, and how to set them"),
    **dict.fromkeys(("validate", "lint"), "`tuneport check DATA` checks a dataset"),
    **dict.fromkeys(("stop", "kill"), "`tuneport cancel JOB` stops a job, `tuneport undeploy ID` an endpoint"),
}
"""What is meant by the words that other tools have for a command."""


def group_title(group: str) -> str:
    """Return a group's title in the list: its name, and the example of one of its commands."""
    return f"{group}, e.g. tuneport {COMMANDS[GROUPS[group]].example}"
