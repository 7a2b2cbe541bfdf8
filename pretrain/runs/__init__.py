"""Run folders, launching several processes, and run status."""
