"""The command ``unstir``: one file per command. What can be checked is checked before torch is imported."""
