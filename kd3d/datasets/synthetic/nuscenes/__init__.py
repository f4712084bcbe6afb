"""A small driving world, made on the spot and written in the full nuScenes v1.0 schema.

Roads, actors that follow lanes and clutter are solids (``solids``), a scene gives them for an
instant (``scene``), a LiDAR and six cameras look at them (``lidar``, ``cameras``), and ``dataset``
writes what they see. Everything follows from the seed.
"""
