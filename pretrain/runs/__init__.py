"""Run folders, and launching several processes."""
