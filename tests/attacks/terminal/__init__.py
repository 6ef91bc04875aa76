"""Text that providers write, made to attack terminals, sent through every command; what comes out is read as bytes.

`hostile.py` makes the emulators' answers, `screen.py` runs commands on a terminal and in a pipe. Neither shares code
with the door that they attack (`cli/views/output.py`).
"""
