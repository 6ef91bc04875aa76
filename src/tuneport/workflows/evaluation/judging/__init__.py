"""Judges that compare answers: the judging model, its questions and its answers."""
