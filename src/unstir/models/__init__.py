"""Models: what a run trains and a file holds, one file for each system. Importing this imports no torch."""
