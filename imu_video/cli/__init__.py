"""The command `imu-video`: parsing and printing only; the packages of the library do the work."""
