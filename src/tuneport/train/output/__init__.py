"""The results of a run: weights, a merged model, a model card."""
