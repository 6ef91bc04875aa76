"""The confined process: a program, or a grader that is asked again and again. Started by `launcher.py` as a script.

It reads JSON lines and answers each with one. {"program", "reached"}: run the program to its end, then answer with
`reached`. {"grader"}: load it; then {"sample", "item"}: call its `grade`.
"""

from __future__ import annotations

import json
import os
import sys
import types


def main() -> None:
    replies, requests = os.fdopen(os.dup(1), "wb", buffering=0), os.fdopen(os.dup(0), "rb")
    nothing = os.open("/dev/null", os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.close(nothing)
    order = json.loads(requests.readline())

    def reply(value: object) -> None:
        replies.write(json.dumps(value).encode() + b"\n")

    if "program" in order:
        run_confined_program(order["program"])
        reply({"reached": order["reached"]})
        return
    try:
        grade = load_sandboxed_function(order["grader"])
    except Exception as error:
        reply({"cannot": describe_sandboxed_error(error)})
        return
    reply({"ready": True})
    for line in requests:
        asked = json.loads(line)
        try:
            reply({"score": float(grade(asked["sample"], asked["item"]))})
        except Exception as error:
            reply({"failed": describe_sandboxed_error(error)})


def run_confined_program(source: str) -> None:
    with open("main.py", "w", encoding="utf-8", errors="replace") as file:
        file.write(source)
    module = types.ModuleType("__main__")
    module.__dict__["__file__"] = "main.py"
    sys.modules["__main__"] = module
    sys.argv = ["main.py"]
    with open("main.py", encoding="utf-8") as file:
        source = file.read()
    exec(compile(source, "main.py", "exec"), module.__dict__)


def load_sandboxed_function(source: str):  # type: ignore[no-untyped-def]
    module = types.ModuleType("grader")
    sys.modules["grader"] = module
    exec(compile(source, "<grader>", "exec"), module.__dict__)
    return module.__dict__["grade"]


def describe_sandboxed_error(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:1000]


if __name__ == "__main__":
    main()
