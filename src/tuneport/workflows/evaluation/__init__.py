"""What `tuneport eval` is made of: rows proved to be held out, models by their names, answers that are kept, prices."""
