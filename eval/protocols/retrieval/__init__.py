"""Retrieval between IMU windows and their own videos."""
