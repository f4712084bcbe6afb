"""Data made on the spot, so that the demo and the tests need no download.

``traffic_scenes`` writes a COCO-format set of drawn street scenes: :mod:`shapes` holds what is
drawn (road users and clutter, in metres), :mod:`street` the road and what stands behind it, and
:mod:`traffic_scenes` the camera, the choice of a scene, and the files.
"""
