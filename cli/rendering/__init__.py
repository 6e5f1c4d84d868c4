"""How things are shown: for a person at a terminal, in a pipe, or as JSON for a machine."""
