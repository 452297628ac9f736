"""unstir."""
