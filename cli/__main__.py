"""``python -m cli``: the same as ``imagegen``."""

from cli.main import run

if __name__ == "__main__":
    run()
