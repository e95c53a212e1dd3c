"""Runs ``imagegen``, also as ``python -m cli``."""

from cli.secret_arguments import hide_secret_arguments


def main() -> None:
    """Run the command line. Secrets are hidden first: importing the commands takes a part of a second."""
    hide_secret_arguments()
    from cli.main import run

    run()


if __name__ == "__main__":
    main()
