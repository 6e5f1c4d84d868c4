"""The commands, one module each, imported when one is called (`cli.app` has the list)."""
