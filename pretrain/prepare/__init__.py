"""From a config to everything a run needs, every check once."""
