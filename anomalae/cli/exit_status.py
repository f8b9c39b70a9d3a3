"""Exit statuses of all commands; 0 is done, 1 nothing could be done."""

# An unknown option, a value out of its range, a name that nothing has.
WRONG_USAGE = 2
# Something was flagged and --fail-on-anomaly was given.
FLAGGED = 3
# Some inputs failed.
IN_PART = 4
# By Ctrl-C, or where a command cleans up behind itself, by a request to end.
INTERRUPTED = 130
