"""Builds data folders from recordings: encodes, collects into shards, merges parts; never edits a finished folder."""
