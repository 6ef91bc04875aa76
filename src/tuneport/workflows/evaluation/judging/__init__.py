"""Judges that compare answers: which model judges, what it is asked, what it said."""
