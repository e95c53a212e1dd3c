"""What a person is told when a command cannot go on."""


class UserError(Exception):
    """One clear sentence for standard error; the command then exits with code 2."""


class ChildRefused(Exception):
    """A child process exited with code 2 at its start, and has said why itself."""
