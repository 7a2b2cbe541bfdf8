"""Checkpoints on disk: written atomically, verified, retained by rule."""
