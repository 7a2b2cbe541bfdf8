"""Progress of a run: console, run log, trackers; nothing here changes training."""
