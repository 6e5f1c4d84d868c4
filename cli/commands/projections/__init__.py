"""``eventstore projections ...``: views and the relay that feeds them, a module for each task."""
