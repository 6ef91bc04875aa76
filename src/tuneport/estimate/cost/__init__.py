"""The cost of training and inference, by each provider's own rule as its manifest states it. Pure; no number is
invented.

`training` prices a job; `inference` a month of a stated `traffic`, with `serving` saying what a GPU carries and
`idle_stop` what is saved while nothing is asked; and `base_prices` the same month from the base model. A quote that
cannot be made gives the reason.
"""

from tuneport.estimate.cost.base_prices import base_inference_quote
from tuneport.estimate.cost.idle_stop import quote_stopped_when_idle
from tuneport.estimate.cost.inference import InferenceQuote, endpoint_hourly_price, inference_quote, per_token_quote
from tuneport.estimate.cost.own_gpu import OwnGPUCost
from tuneport.estimate.cost.traffic import HOURS_PER_MONTH, MonthlyCost, Traffic
from tuneport.estimate.cost.training import oldest_price_date, training_price, training_quote

__all__ = [
    "HOURS_PER_MONTH",
    "InferenceQuote",
    "MonthlyCost",
    "OwnGPUCost",
    "Traffic",
    "base_inference_quote",
    "endpoint_hourly_price",
    "inference_quote",
    "oldest_price_date",
    "per_token_quote",
    "quote_stopped_when_idle",
    "training_price",
    "training_quote",
]
