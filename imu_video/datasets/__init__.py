"""Dataset adapters, one module per dataset: files as distributed in, Recordings out.

The names below are imported at first use; the registry loads them all, which registers the built-in adapters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imu_video.lazy import exports

if TYPE_CHECKING:
    from imu_video.datasets.bandai_namco import BandaiNamco
    from imu_video.datasets.berkeley_mhad import BerkeleyMhad
    from imu_video.datasets.bvh import Bvh
    from imu_video.datasets.capture24 import Capture24
    from imu_video.datasets.cmu_mmac import CmuMmac
    from imu_video.datasets.cmu_mocap import CmuMocap
    from imu_video.datasets.daphnet import Daphnet
    from imu_video.datasets.dsads import Dsads
    from imu_video.datasets.ego4d import Ego4d
    from imu_video.datasets.egoexo4d import EgoExo4d
    from imu_video.datasets.folder.dataset import Folder
    from imu_video.datasets.gopro import GoPro
    from imu_video.datasets.hapt import Hapt
    from imu_video.datasets.hhar import Hhar
    from imu_video.datasets.mhealth import MHealth
    from imu_video.datasets.mmact import MMAct
    from imu_video.datasets.mmea import Mmea
    from imu_video.datasets.mobilise_d import MobiliseD
    from imu_video.datasets.motionsense import MotionSense
    from imu_video.datasets.opportunity import Opportunity
    from imu_video.datasets.pamap2 import Pamap2
    from imu_video.datasets.pdiot import Pdiot
    from imu_video.datasets.pose import PosedDataset
    from imu_video.datasets.realworld import RealWorld
    from imu_video.datasets.smartfallmm import SmartFallMM
    from imu_video.datasets.sp_sw_har import SpSwHar
    from imu_video.datasets.synthetic import SyntheticWorld
    from imu_video.datasets.ucihar import UciHar
    from imu_video.datasets.umafall import UmaFall
    from imu_video.datasets.uschad import UscHad
    from imu_video.datasets.utd_mhad import UtdMhad
    from imu_video.datasets.wear import Wear
    from imu_video.datasets.wisdm import Wisdm
    from imu_video.datasets.wisdm51_watch import Wisdm51Watch

__all__ = [
    "BandaiNamco",
    "BerkeleyMhad",
    "Bvh",
    "Capture24",
    "CmuMmac",
    "CmuMocap",
    "Daphnet",
    "Dsads",
    "Ego4d",
    "EgoExo4d",
    "Folder",
    "GoPro",
    "Hapt",
    "Hhar",
    "MHealth",
    "MMAct",
    "Mmea",
    "MobiliseD",
    "MotionSense",
    "Opportunity",
    "Pamap2",
    "Pdiot",
    "PosedDataset",
    "RealWorld",
    "SmartFallMM",
    "SpSwHar",
    "SyntheticWorld",
    "UciHar",
    "UmaFall",
    "UscHad",
    "UtdMhad",
    "Wear",
    "Wisdm",
    "Wisdm51Watch",
]

__getattr__, __dir__ = exports(
    __name__,
    __all__,
    {
        "bandai_namco": ["BandaiNamco"],
        "berkeley_mhad": ["BerkeleyMhad"],
        "bvh": ["Bvh"],
        "capture24": ["Capture24"],
        "cmu_mmac": ["CmuMmac"],
        "cmu_mocap": ["CmuMocap"],
        "daphnet": ["Daphnet"],
        "dsads": ["Dsads"],
        "ego4d": ["Ego4d"],
        "egoexo4d": ["EgoExo4d"],
        "folder.dataset": ["Folder"],
        "gopro": ["GoPro"],
        "hapt": ["Hapt"],
        "hhar": ["Hhar"],
        "mhealth": ["MHealth"],
        "mmact": ["MMAct"],
        "mmea": ["Mmea"],
        "mobilise_d": ["MobiliseD"],
        "motionsense": ["MotionSense"],
        "opportunity": ["Opportunity"],
        "pamap2": ["Pamap2"],
        "pdiot": ["Pdiot"],
        "pose": ["PosedDataset"],
        "realworld": ["RealWorld"],
        "smartfallmm": ["SmartFallMM"],
        "sp_sw_har": ["SpSwHar"],
        "synthetic": ["SyntheticWorld"],
        "ucihar": ["UciHar"],
        "umafall": ["UmaFall"],
        "uschad": ["UscHad"],
        "utd_mhad": ["UtdMhad"],
        "wear": ["Wear"],
        "wisdm": ["Wisdm"],
        "wisdm51_watch": ["Wisdm51Watch"],
    },
)
