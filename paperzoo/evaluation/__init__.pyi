from .coco import FastCocoMetric as FastCocoMetric
from .dump import DumpRecords as DumpRecords
from .few_shot import FewShotAccuracy as FewShotAccuracy
from .panoptic_quality import PanopticQuality as PanopticQuality
from .sequences import SequenceAccuracy as SequenceAccuracy
