"""The terminal of a command: its outcome, its progress bars, and whether it is quiet.

Results go to standard output; bars, messages and the next command to standard error.
"""
