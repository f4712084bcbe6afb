"""Data sets made or converted by kd3d. They write plain COCO, which mmdet's own classes read."""
