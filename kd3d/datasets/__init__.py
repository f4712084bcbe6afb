"""Data sets made or converted by kd3d. They write plain COCO, which mmdet's own classes read.

Importing it gives ``numpy.long`` back, which NumPy lacks from 1.24 until 2: mmdet3d 1.4's
ObjectSample (objects pasted from other frames, in most LiDAR configs) and mmdet 3.3's
RandomSamplingNegPos name it.
"""

import numpy as np

vars(np).setdefault("long", np.int_)
