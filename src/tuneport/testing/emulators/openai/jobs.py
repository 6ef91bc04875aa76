"""One fine-tuning job of the OpenAI emulator: its states, events, checkpoints, result file and bill.

Wordings and order of the events, the fields beyond the specification (`user_provided_suffix`, the all-null `error` of
a job that did not fail) and the names of checkpoints follow recorded answers of the real service.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from typing import Any

from tuneport.testing.emulators.datasets import (
    EmulatedDataError,
    Rows,
    apply_emulated_openai_rules,
    count_emulated_billed_tokens,
    emulated_images,
    emulated_tiktoken_count,
    emulated_token_count,
    read_emulated_rows,
)
from tuneport.testing.emulators.timeline import (
    EmulatedJobPlan,
    EmulatedTimeline,
    emulated_accuracy,
    emulated_auto_epochs,
    emulated_loss,
    emulated_overfitting_loss,
)

STATES = ("validating_files", "queued", "running")
MINIMUM_EXAMPLES = 10
CONTEXT_TOKENS = 65_536  # of longer examples the end is cut off before training, and is not billed
# Which words a file's format has in the complaint that it does not fit the method.
FORMAT_NAMES = {"dpo": "fine-tune-preference", "supervised": "fine-tune-chat", "reinforcement": "fine-tune-chat"}
LISTED_STEPS = 100  # the real service lists every step; so many are enough to page through


@dataclass(eq=False)
class EmulatedOpenAIJob:
    id: str
    base: str
    start: str  # what training began with: the base, or a model that was tuned from it
    method: str
    options: dict[str, Any]  # of the method, as given
    hyperparameters: dict[str, Any]
    training_file: str
    training_content: bytes
    validation_file: str | None
    validation_content: bytes | None
    suffix: str | None
    seed: int
    metadata: dict[str, str] | None
    integrations: list[dict[str, Any]]
    organization: str
    plan: EmulatedJobPlan
    timeline: EmulatedTimeline
    exact_tokens: bool
    code: str  # the eight characters that end the tuned model's name
    result_file: str | None = None
    fine_tuned_model: str | None = None
    cancelled: bool = False
    overfits: bool = False
    takes_images: bool = False
    checkpoint_codes: list[str] = field(default_factory=list)

    @functools.cached_property
    def rows(self) -> Rows:
        return read_emulated_rows(self.training_content, "Invalid file format. Line {line} {what}.")

    @functools.cached_property
    def validation_error(self) -> dict[str, Any] | None:
        """Return the problem that validation finds, as the job's `error`."""
        for param, content in (("training_file", self.training_content), ("validation_file", self.validation_content)):
            if content is None:
                continue
            kind = param.partition("_")[0]
            try:
                rows = read_emulated_rows(content, "Invalid file format. Line {line} {what}.")
                if rows and ("messages" in rows[0]) == (self.method == "dpo"):
                    given = FORMAT_NAMES["supervised" if "messages" in rows[0] else "dpo"]
                    wanted = "supervised" if "messages" in rows[0] else "dpo"
                    raise EmulatedDataError(
                        f"Invalid file format. Input file {getattr(self, param)} is in the {given} format, but the "
                        f"specified fine-tuning job is not using '{wanted}' as the training method "
                        f"(provided method={self.method})."
                    )
                apply_emulated_openai_rules(rows, self.method)
                if not self.takes_images and any(map(emulated_images, rows)):
                    raise EmulatedDataError(f"The model {self.base} does not support images in training files.")
            except EmulatedDataError as error:
                message = f"The job failed due to an invalid {kind} file. {error}"
                return {"code": f"invalid_{param}", "message": message, "param": param}
            if kind == "training" and len(rows) < MINIMUM_EXAMPLES:
                message = f"Training file has {len(rows)} example(s), but must have at least {MINIMUM_EXAMPLES}"
                return {"code": "invalid_n_examples", "message": f"{message} examples", "param": param}
        return None

    def status(self, now: float) -> str:
        if self.cancelled:
            return "cancelled"
        state = self.timeline.state(now)
        if self.validation_error and state != "validating_files":
            return "failed"
        if state is None:
            return (self.plan.status or "failed") if self.plan.fails else "succeeded"
        return (self.plan.raw_status or "running") if state == "running" else state

    def has_ended(self, now: float) -> bool:
        return self.cancelled or self.timeline.state(now) is None or self.status(now) == "failed"

    def error(self, now: float) -> dict[str, Any] | None:
        if self.cancelled or not self.has_ended(now):
            return None
        default = {"code": "server_error", "message": "The job failed due to an internal error.", "param": None}
        failed = {**default, **(self.plan.fails_with or {})} if self.plan.fails else None
        return self.validation_error or failed

    # Hyperparameters and the steps that follow from them.

    @property
    def epochs(self) -> int:
        given = self.hyperparameters.get("n_epochs", "auto")
        return emulated_auto_epochs(len(self.rows)) if given == "auto" else given

    @property
    def batch_size(self) -> int:
        given = self.hyperparameters.get("batch_size", "auto")
        # About 0.2 % of the examples, as the service's guide used to say.
        return min(256, max(1, round(len(self.rows) * 0.002))) if given == "auto" else given

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(len(self.rows) / self.batch_size)

    @property
    def total_steps(self) -> int:
        return self.steps_per_epoch * self.epochs

    @functools.cached_property
    def trained_tokens(self) -> int:
        encoding = "cl100k_base" if self.base.startswith(("gpt-3.5", "gpt-4-")) else "o200k_base"
        count = emulated_tiktoken_count(encoding) if self.exact_tokens else emulated_token_count
        return self.epochs * sum(min(CONTEXT_TOKENS, count_emulated_billed_tokens(row, count)) for row in self.rows)

    def shown_hyperparameters(self, now: float) -> dict[str, Any]:
        """Return the hyperparameters: "auto" until the files are validated, and the chosen number from then on."""
        shown = {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto", **self.hyperparameters}
        if self.validation_error is None and self.timeline.state(now) != "validating_files":
            chosen: dict[str, float] = {"n_epochs": self.epochs, "batch_size": self.batch_size}
            chosen |= {"learning_rate_multiplier": 1.8, "beta": 0.1}
            chosen |= {"compute_multiplier": 1.0, "eval_interval": 5, "eval_samples": 1}
            shown = {name: chosen.get(name, value) if value == "auto" else value for name, value in shown.items()}
        return shown

    def metrics(self, step: int) -> dict[str, float]:
        train = emulated_loss(step, self.total_steps)
        loss_ = emulated_overfitting_loss if self.overfits else emulated_loss
        values = {"step": step, "train_loss": train, "train_mean_token_accuracy": emulated_accuracy(train)}
        if self.validation_content is not None and (step % 10 == 0 or step % self.steps_per_epoch == 0):
            valid = loss_(step, self.total_steps, validation=True)
            values |= {"valid_loss": valid, "valid_mean_token_accuracy": emulated_accuracy(valid)}
            if step % self.steps_per_epoch == 0:
                values |= {"full_valid_loss": valid, "full_valid_mean_token_accuracy": emulated_accuracy(valid)}
        return values

    def model_name(self, code: str | None = None, step: int | None = None) -> str:
        name = f"ft:{self.base}:{self.organization}:{self.suffix or ''}:{code or self.code}"
        return name if step is None else f"{name}:ckpt-step-{step}"

    def checkpoints(self, now: float) -> list[dict[str, Any]]:
        """Return one checkpoint an epoch, the last three, newest first. The last one is the tuned model itself."""
        if self.validation_error or self.error(now) or self.timeline.state(now) in ("validating_files", "queued"):
            return []
        done = self.timeline.progress_in_state(now, "running") * self.total_steps
        found = []
        for epoch in range(1, self.epochs + 1):
            step, last = epoch * self.steps_per_epoch, epoch == self.epochs
            if step > done or (last and not self.fine_tuned_model):
                continue
            code = self.checkpoint_codes[epoch % len(self.checkpoint_codes)]
            age = self.timeline.start_of_state("running") + self.timeline.pace * step / self.total_steps
            found.append({
                "id": f"ftckpt_{self.id[-16:]}{step:08d}", "object": "fine_tuning.job.checkpoint",
                "created_at": int(self.timeline.time_of_age(age)), "fine_tuning_job_id": self.id, "step_number": step,
                "fine_tuned_model_checkpoint": self.model_name() if last else self.model_name(code, step),
                "metrics": self.metrics(step),
            })  # fmt: skip
        return found[-3:][::-1]

    def result_csv(self) -> bytes:
        lines = ["step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"]
        names = ("step", "train_loss", "train_mean_token_accuracy", "valid_loss", "valid_mean_token_accuracy")
        for step in range(1, self.total_steps + 1):
            values = self.metrics(step)
            lines.append(",".join(str(values.get(name, "")) for name in names))
        return "\n".join([*lines, ""]).encode()

    def events(self, now: float) -> list[dict[str, Any]]:
        """Return all events so far, newest first."""
        files = f"training file: {self.training_file}"
        if self.validation_file:
            files += f" and validation file: {self.validation_file}"
        written = [
            (0.0, f"Created fine-tuning job: {self.id}"),
            (0.0, f"Validating {files}"),
        ]
        if not self.validation_error:
            written += [
                (self.timeline.start_of_state("queued"), "Files validated, moving job to queued state"),
                (self.timeline.start_of_state("running"), "Fine-tuning job started"),
            ]
        events: list[tuple[float, str, str, str, dict[str, Any]]]
        events = [(age, "info", message, "message", {}) for age, message in written] + self._step_events()
        end = self.timeline.pace * (1 if self.validation_error else len(STATES))
        error = self.error(now)
        if error:
            events.append((end, "error", error["message"], "message", {}))
        elif self.fine_tuned_model:
            kept = self.checkpoints(now)[1:]
            for checkpoint in reversed(kept):
                name, step = checkpoint["fine_tuned_model_checkpoint"], checkpoint["step_number"]
                message = f"Checkpoint created at step {step} with Snapshot ID: {name}"
                events.append((end, "info", message, "message", {}))
            created = f"New fine-tuned model created: {self.fine_tuned_model}"
            for message in (created, "The job has successfully completed"):
                events.append((end, "info", message, "message", {}))
        age = self.timeline.age(now)
        shown = [event for event in events if event[0] <= age]
        if self.cancelled:
            shown.append((age, "info", "Fine-tuning job cancelled", "message", {}))
        rendered = [
            {
                "object": "fine_tuning.job.event", "id": f"ftevent-{self.id[-16:]}{index:08d}", "level": level,
                "created_at": int(self.timeline.time_of_age(age)), "message": message, "type": type, "data": data,
            }
            for index, (age, level, message, type, data) in enumerate(shown)
        ]  # fmt: skip
        return [*self.plan.events[::-1], *rendered[::-1]]

    def _step_events(self) -> list[tuple[float, str, str, str, dict[str, Any]]]:
        if self.validation_error:
            return []
        total = self.total_steps
        events: list[tuple[float, str, str, str, dict[str, Any]]] = []
        for step in range(1, total + 1):
            if step % max(1, total // LISTED_STEPS) and step % self.steps_per_epoch:
                continue
            values = self.metrics(step)
            message = f"Step {step}/{total}: training loss={values['train_loss']:.2f}"
            for name, words in (("valid_loss", "validation loss"), ("full_valid_loss", "full validation loss")):
                message += f", {words}={values[name]:.2f}" if name in values else ""
            age = self.timeline.start_of_state("running") + self.timeline.pace * step / total
            events.append((age, "info", message, "metrics", {**values, "total_steps": total}))
        return events
