"""Engines: one folder each. Only they import a database driver, and none imports another."""
