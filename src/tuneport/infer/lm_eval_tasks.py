"""`python -m tuneport.infer.lm_eval_tasks --model FOLDER TASK...`: EleutherAI's lm-eval on a model and its adapter.

A task is a name that the installed lm-eval knows (a task, a group or a tag of tasks), or the path of a task's YAML. On
stdout, one JSON object a line: `{"ready": true}` once the model is loaded; for each task, in order, `{"task",
"scores"}`, each score with `task`, `metric`, `filter`, `value`, `stderr`, `higher_is_better`, `count`, and `rows`: each
row's score, if `value` is their mean. On failure the last line is `{"error": {"code", "message"}}`. The process ends
when its stdin is closed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from tuneport.errors import ConfigError
from tuneport.heavy_imports import heavy_imports

BATCH_SIZES: Mapping[str, int | str] = {"cpu": 8, "mps": 8}
"""Elsewhere lm-eval finds the largest that fits, which on a CPU takes longer than it saves."""
RESAMPLES = 1_000
"""For the standard errors that lm-eval finds by bootstrap; those of means have a formula."""


def run_lm_eval_tasks() -> int:
    parser = argparse.ArgumentParser(prog="python -m tuneport.infer.lm_eval_tasks")
    parser.add_argument("--model", required=True, help="a folder, or the name of a base model")
    parser.add_argument("--adapter", type=Path, help="a folder")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--device-map", default="auto")
    parser.add_argument("--precision", choices=["bf16", "fp16", "fp32"])
    parser.add_argument("--load-in-4bit", action="store_true")
    parser.add_argument("--limit", type=int, help="only the first so many rows of each task")
    parser.add_argument("tasks", nargs="+")
    arguments = parser.parse_args()
    # Stdout is for the results alone: what a library prints goes to stderr.
    from tuneport.infer.__main__ import InferenceReplyPipe, take_over_stdin

    answers = InferenceReplyPipe(os.dup(1))
    os.dup2(2, 1)
    threading.Thread(target=_end_with, args=(take_over_stdin(),), daemon=True).start()
    try:
        for message in _run(arguments):
            answers.write_line(_line(message))
    except Exception as error:
        from tuneport.infer.protocol import inference_failure

        traceback.print_exc()
        failed = inference_failure(error)
        answers.write_line(_line({"error": {"code": failed.code, "message": failed.message}}))
        return 1
    return 0


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False).encode() + b"\n"


def _end_with(requests: IO[bytes]) -> None:
    while requests.read(1024):
        pass
    os._exit(1)


def _run(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    from tuneport.infer.model.placement import is_inference_out_of_memory

    manager = TaskManager()
    for name in arguments.tasks:
        if name not in manager.task_index and not Path(name).is_file():
            raise ConfigError(f"lm-eval {lm_eval.__version__} has no task {name}; `lm-eval ls tasks` lists them")
    model, tokenizer, device = _loaded(arguments)
    asked = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=BATCH_SIZES.get(device, "auto"))
    yield {"ready": True, "device": device}
    for name in arguments.tasks:
        try:
            found = lm_eval.simple_evaluate(
                model=asked,
                tasks=[name],
                task_manager=manager,
                limit=arguments.limit,
                bootstrap_iters=RESAMPLES,
            )
        except Exception as error:
            if is_inference_out_of_memory(error):
                raise
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ConfigError(f"lm-eval's task {name} cannot be run: {reason}") from error
        yield {"task": name, "scores": list(_scores(found))}


def _loaded(arguments: argparse.Namespace) -> tuple[Any, Any, str]:
    """Return the model, with its adapter if one is given, on the device and in the precision that it would answer
    with."""
    with heavy_imports():
        from tuneport.infer.model.virtual_tokens import uses_virtual_tokens_cache
        from tuneport.infer.protocol import load_inference_service

    engine = load_inference_service(
        arguments.model,
        arguments.home,
        device_map=arguments.device_map,
        precision=arguments.precision,
        load_in_4bit=arguments.load_in_4bit,
    ).engine
    if arguments.adapter is None:
        return engine.model, engine.tokenizer, engine.device.name
    if uses_virtual_tokens_cache(arguments.adapter):
        raise ConfigError(
            f"the adapter in {arguments.adapter} stands before every input, where lm-eval would count it as text; "
            "leave out that model or --lm-eval"
        )
    from peft import PeftModel

    return PeftModel.from_pretrained(engine.model, str(arguments.adapter)).eval(), engine.tokenizer, engine.device.name


def _scores(found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield each metric of each task, or of a group that has a score of its own, in each way of reading the answers (a
    filter)."""
    groups: Mapping[str, Sequence[str]] = found.get("group_subtasks") or {}
    inside = {
        task for name in groups if _values(found["results"].get(name, {})) for task in _leaves(groups, name, whole=True)
    }
    for name, result in found["results"].items():
        if name in inside:
            continue
        leaves = _leaves(groups, name)
        for metric, filter_name, value in _values(result):
            rows = [
                sample.get(metric)
                for leaf in leaves
                for sample in found["samples"].get(leaf, ())
                if sample["filter"] == filter_name
            ]
            stderr = result.get(f"{metric}_stderr,{filter_name}")
            better = [(found["higher_is_better"].get(each) or {}).get(metric) for each in (name, *leaves)]
            yield {
                "task": name,
                "metric": metric,
                "filter": "" if filter_name == "none" else filter_name,
                "value": value,
                "stderr": float(stderr) if isinstance(stderr, (int, float)) else None,
                "higher_is_better": next((each for each in better if each is not None), True),
                "count": sum(found["n-samples"][leaf]["effective"] for leaf in leaves),
                "rows": _rows(rows, value),
            }


def _values(result: Mapping[str, Any]) -> list[tuple[str, str, float]]:
    found = []
    for key, value in result.items():
        metric, comma, filter_name = key.partition(",")
        if comma and not metric.endswith("_stderr") and isinstance(value, (int, float)):
            found.append((metric, filter_name, float(value)))
    return found


def _leaves(groups: Mapping[str, Sequence[str]], name: str, *, whole: bool = False) -> list[str]:
    """Return the tasks in a group; with its groups if `whole`. A task returns itself."""
    if name not in groups:
        return [name]
    found = []
    for each in groups[name]:
        found += [each] if whole and each in groups else []
        found += _leaves(groups, each, whole=whole)
    return found


def _rows(values: Sequence[Any], mean: float) -> list[float] | None:
    """Return each row's score, if the task's score is their mean (not for a perplexity, or a weighted mean of
    tasks)."""
    if not values or not all(isinstance(value, (bool, int, float)) for value in values):
        return None
    rows = [float(value) for value in values]
    return rows if math.isclose(math.fsum(rows) / len(rows), mean, rel_tol=1e-9, abs_tol=1e-12) else None


if __name__ == "__main__":
    sys.exit(run_lm_eval_tasks())
