"""Figures of the ideas, one file each: ``draw_*`` returns a figure, and beside it stands what the figure shows."""
