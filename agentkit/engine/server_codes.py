"""Exit statuses of a runner that no server uses: why it ended what it ran.

Imported by a script that is run by path, so that nothing else may be imported here.
"""

TOO_LATE, HUNG, PORT_TAKEN, NOT_STARTED = 124, 125, 126, 127
