"""The interactive replay: `session` holds what is looked at, `tree` and `drawing` make lines of it,
`app` and `screens` put them on a terminal and take the keys."""
