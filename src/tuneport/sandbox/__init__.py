"""Runs untrusted Python: a model's answers, the tests of a dataset's rows, a grader's code.

Two kept programs confine it. `bubblewrap` gives each run a root folder of its own: nothing exists there but Python, the
system's libraries (read-only) and a folder in memory; its processes, network and IPC are its own, too. `sandlock` runs
the code inside it under Landlock and seccomp. tuneport adds limits, which hold for the whole run.

What holds: beyond the folders of Python, its packages and the system's libraries and programs (`walls.py`), no file,
socket, process, key or network outside can be seen, used or changed; an empty environment; limits on time, processor,
memory and disk (both of the whole run), open files, size of a file and processes; nothing is left running. A session
that is asked again and again has limits of time and of all processors for each call, and what runs between calls is
stopped. Code is refused if it could read the present folder or tuneport's home.

Where the kernel does not let this user make namespaces (Docker's default), bubblewrap cannot work and sandlock confines
alone: then the code can ask whether a path exists, and its size and times, and its disk is looked at up to fifty times
a second and may be exceeded for as long. `ProgramResult.own_root` says which it was. Its folder there is readable by
the user that runs it only, and is emptied; after a kill of the whole process an empty folder stays.

What does not hold: the kernel itself is not guarded as a virtual machine would guard it, memory is looked at every few
milliseconds and may be exceeded for as long, the clock and the processor's load can be observed, code that looks into
its own process can claim to have passed, and what a user has put into the folders of Python and the system can be
read. A whole program may use the processors for as long as its time, in each of its processes.
"""

OPEN_TO_OTHER_ROOMS = (
    "programs",
    "requirements",
    "session",
    "walls",
)
"""The files here that other rooms import. The rest may change without a look elsewhere."""
