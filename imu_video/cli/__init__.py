"""The command `imu-video`: it parses and prints; the rooms of the library do the work."""
