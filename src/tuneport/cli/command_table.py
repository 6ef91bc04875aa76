"""The commands: the module that has each, and its line in `tuneport --help`.

The table is here so that one command imports no other, and the list of all of them imports none. `tests/cli` compares
each line with the first paragraph of the command's docstring.
"""

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": (
        "demo",
        "Fine-tune a real model on this machine and measure whether it helped: no key, no GPU, about three minutes.",
    ),
    "advise": (
        "advise",
        "Recommend fine-tuning, a prompt, examples in the prompt or retrieval. Without --need, it asks on a terminal.",
    ),
    "check": ("data", "Check a dataset before you spend money on it. Exit code 2 if something must be fixed."),
    "review": (
        "data",
        "Accept, reject or edit a sample of records on a local page; the verdicts are saved in DATA.review.jsonl.",
    ),
    "clean": (
        "data",
        "Remove duplicates, empty answers and broken rows; a log says what was removed or changed, and why.",
    ),
    "preview": (
        "data",
        "Show exactly what is trained on: tokens and which are in the loss, or the file as it will be uploaded.",
    ),
    "split": (
        "data",
        "Hold rows out for validation, by class; rows with the same or nearly the same input stay on one side.",
    ),
    "convert": ("data", "Write a dataset in another format. It stops if something would be lost, and lists it."),
    "compare": (
        "costs",
        "Compare the cost of training and of a month of inference at all backends. Needs no key and no network.",
    ),
    "models": (
        "models",
        "List what can be tuned where: price, serving, shut-down, licence, and which weights are on this machine.",
    ),
    "plan": (
        "plan",
        "Plan a run: its settings and the reasons, the memory it needs, which GPUs hold it, how long it takes.",
    ),
    "rate": ("rate", "Let people compare two systems' answers blindly, on a local page; --results says who won."),
    "submit": (
        "submit",
        "Start a fine-tuning job on any backend: "
        "[bold]tuneport submit train.jsonl --model llama-3.1-8b-instruct[/bold]",
    ),
    "jobs": ("jobs", "List the jobs, with their current state at the backends."),
    "show": ("jobs", "Show one job: its settings, its state and its results."),
    "watch": (
        "jobs",
        "Follow a job, or all, to the end; continue jobs whose command was interrupted or that wait in the queue.",
    ),
    "logs": ("jobs", "Print a job's events, oldest first."),
    "metrics": ("jobs", "Print the loss curve, one row a logged step, and its verdict."),
    "cancel": ("job_actions", "Stop a job. Does nothing if it has ended."),
    "pause": ("job_actions", "Pause a job, if its backend can; [bold]resume[/bold] continues it."),
    "resume": ("job_actions", "Continue a paused job."),
    "resolve": ("job_actions", "Say whether a job runs at its provider, when the answer to its start was lost."),
    "delete": ("job_actions", "Delete the tuned model at its backend, for good. The job's record stays."),
    "checkpoints": ("job_actions", "List the checkpoints that the backend keeps of a job."),
    "chat": ("chat", "Talk to a tuned model, or to a base model."),
    "eval": (
        "evaluate",
        "Measure models on rows that are proved to be in no training data. Answers are cached for the next run.",
    ),
    "download": ("weights", "Download the tuned weights into a folder. Run it again after an interruption to go on."),
    "deploy": (
        "deployments",
        "Start an endpoint for a tuned model. It costs money while it is up: [bold]tuneport undeploy[/bold] stops it.",
    ),
    "undeploy": (
        "deployments",
        "Stop an endpoint, so that it costs nothing more. Does nothing if it is already stopped.",
    ),
    "deployments": (
        "deployments",
        "List the running endpoints, with their cost an hour and the most that they have cost so far.",
    ),
    "files": ("files", "List the files at the providers, with the jobs that use them; or delete some."),
    "migrate": ("migrate", "Leave a provider: [bold]tuneport migrate --from openai --to together[/bold]"),
    "serve": ("serve", "Run the gateway: OpenAI's files, fine-tuning jobs, models and chats over any backend."),
    "audit": (
        "token",
        "Show who changed what, estimated and actual costs of jobs, and who used how many chat tokens. Times are UTC.",
    ),
    "backends": ("backends", "List the backends: which are configured, which is the default, when they shut down."),
    "doctor": ("backends", "Check this machine, the store and every backend, and say how to fix what is wrong."),
    "store": ("store", "Show the store's version and size; upgrade or downgrade it."),
    "token": ("token", "Create, list and revoke tokens of the gateway (`tuneport serve`)."),
    "webhook": ("webhooks", "Set up, test and resend signed webhooks."),
}
"""Each command's module in `commands/`, which has it as `NAME_command` or `NAME_group`, and its line, in the order of
the list."""
