"""The command `eventstore`."""
