"""imu-eval: how well an exported encoder carries over to people, placements and sensors it never saw."""
