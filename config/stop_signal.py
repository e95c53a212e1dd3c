"""The signal with which ``imagegen serve`` stops its own processes."""

import signal

# No other program sends it, and a process that has not begun to handle signals yet is ended by it without a word.
OWN_STOP_SIGNAL = signal.SIGUSR2
