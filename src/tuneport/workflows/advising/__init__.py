"""What advice is made of: what the data shows, what the base model can do, what each way costs."""
