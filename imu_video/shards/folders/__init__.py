"""Finished data folders as wholes: merged, divided anew, fetched, described; no recording and no teacher is run."""
