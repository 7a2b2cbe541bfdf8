"""Virtual people who move, wear sensors and are filmed; a world to try things in, never evidence about real people.

Read in this order: body (skeleton), person (habits), actor and the activities (gait, postures, exercise), session (a
person's day), sensors (virtual IMU), camera, scene and render (the clip), world (all of it into recordings).
"""
