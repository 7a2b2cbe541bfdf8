"""Progress of a run: console, run log, trackers, status; nothing here influences training."""
