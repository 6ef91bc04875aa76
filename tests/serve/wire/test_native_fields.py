"""What tuneport's own API takes for hyperparameters."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tuneport.serve.wire.native import SubmitJob


def test_packing_is_true_or_false_and_numbers_are_not() -> None:
    job = {"model": "m", "training_file": "file-1"}
    asked = SubmitJob.model_validate(job | {"hyperparameters": {"packing": False, "epochs": 3, "learning_rate": 0.1}})
    assert asked.hyperparameters == {"packing": False, "epochs": 3, "learning_rate": 0.1}
    assert asked.hyperparameters["packing"] is False and asked.provider_defaults is False
    with pytest.raises(ValidationError, match="epochs must be a number or text, not true"):
        SubmitJob.model_validate(job | {"hyperparameters": {"epochs": True}})
