"""Works through large files: in order, in parallel, interruptible, written aside and renamed."""
