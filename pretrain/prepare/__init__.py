"""From a config to everything that its run needs: checks, data, components, parts; nothing is trained here."""
