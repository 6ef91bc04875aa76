"""Planning of a job: backend, model, price, time and the alternatives. It starts nothing."""
