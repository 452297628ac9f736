"""The report: one page that holds all of a run, or several side by side, and needs nothing beside itself."""
