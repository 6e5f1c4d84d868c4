"""What agents do, as events and as state: the stock vocabulary and its reducers."""
