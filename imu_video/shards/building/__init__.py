"""Recordings into a data folder: encoded, collected into shards, merged from parts; finished folders are left alone."""
