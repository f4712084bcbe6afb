"""Inputs for the losses on BEV maps, and each loss as a naive loop over frames, cells and boxes."""

import numpy as np
import torch

from kd3d.bev_grid import BevGrid
from kd3d.heads import CenterPrediction

GRID = BevGrid(-3.0, -5.0, 3.0, 5.0, rows=5, columns=6)  # cells of 1 m along x and 2 m along y
TASKS = (0, 1, 1)
NAMES = ("car", "truck", "bus")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def yes_no_kl(p, q):
    return q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p))


def center_predictions(seed):
    """Three frames; offsets stay within the cell, as labels teach them."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 3, 5, 6, generator=generator) * 2 - 2
    regression = torch.randn(3, 2, 10, 5, 6, generator=generator)
    regression[:, :, :2] = regression[:, :, :2].sigmoid() * 0.9 + 0.05
    return CenterPrediction(logits, regression, TASKS, NAMES, GRID)


def bev_mask(seed=5):
    """(3, 1, 5, 6) weights with cells of 0."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(3, 1, 5, 6, generator=generator) - 0.3).clamp(min=0)


def np_bev_feature(s, t, mask):
    frames = []
    for a, b, weight in zip(s, t, mask[:, 0], strict=True):
        total = 0.0
        for row in range(5):
            for column in range(6):
                total += weight[row, column] * ((a - b)[:, row, column] ** 2).mean()
        frames.append(total / weight.sum())
    return np.mean(frames)


def np_codes(raw, row, column):
    """Box at a cell of GRID from its ten channels, in metres."""
    x_m = -3.0 + (column + raw[0]) * 1.0
    y_m = -5.0 + (row + raw[1]) * 2.0
    return np.array([x_m, y_m, *raw[2:]])


def np_peaks(scores):
    """Cells of a heatmap that none of the eight cells around exceeds."""
    rows, columns = scores.shape
    for row in range(rows):
        for column in range(columns):
            around = scores[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            if scores[row, column] == around.max():
                yield row, column


def np_heatmap_response(s, t):
    """gamma 2, half the weight for boxes, as many peaks as there are."""
    frames = []
    for frame in range(len(t.logits)):
        classes, heat, boxes, certainty = 0.0, 0.0, 0.0, 0.0
        for k, task in enumerate(TASKS):
            p, q = sigmoid(s.logits[frame, k]), sigmoid(t.logits[frame, k])
            classes += (yes_no_kl(p, q) * np.abs(p - q) ** 2).sum()
            heat += q[q > 0.1].sum()
            for row, column in np_peaks(q):
                if q[row, column] <= 0.1:
                    continue
                target = np_codes(t.regression[frame, task, :, row, column], row, column)
                answer = np_codes(s.regression[frame, task, :, row, column], row, column)
                apart = np.abs(answer - target) * ([1.0] * 8 + [0.2] * 2)
                boxes += q[row, column] * apart.sum()
                certainty += q[row, column]
        frames.append(classes / max(heat, 1) + 0.5 * boxes / max(certainty, 1))
    return np.mean(frames)
