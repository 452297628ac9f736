"""Pages for a browser; they call the same functions as the command line."""
