"""The activities by name; to add one, write a function from Actor to Bout and list it here."""

from __future__ import annotations

from imu_video.simulation.actor import Activity
from imu_video.simulation.exercise import cycle, jumping_jacks, squats, vacuum
from imu_video.simulation.gait import jog, stairs_down, stairs_up, walk
from imu_video.simulation.postures import brush_teeth, clap, drink, lie, sit, stand, type_text, wave

ACTIVITIES: dict[str, Activity] = {
    "brush_teeth": brush_teeth,
    "clap": clap,
    "cycle": cycle,
    "drink": drink,
    "jog": jog,
    "jumping_jacks": jumping_jacks,
    "lie": lie,
    "sit": sit,
    "squats": squats,
    "stairs_down": stairs_down,
    "stairs_up": stairs_up,
    "stand": stand,
    "type": type_text,
    "vacuum": vacuum,
    "walk": walk,
    "wave": wave,
}
"""Label -> activity."""
