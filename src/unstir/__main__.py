"""``python -m unstir``: the command, where it is not on the path."""

from unstir.cli.main import main

if __name__ == "__main__":
    main()
