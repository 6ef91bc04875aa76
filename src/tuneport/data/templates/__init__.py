"""Chat templates: how a record becomes the text that a model is trained on."""
