"""Inputs for the losses on BEV maps, and each loss as a naive loop over frames, cells and boxes."""

import numpy as np
import torch

from kd3d.bev_grid import BevGrid
from kd3d.heads import Anchor3DPrediction, CenterPrediction

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


def anchor_predictions(seed):
    """Three frames of 2 x 3 cells of 2 m with two templates each, and three classes."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(2.0), torch.arange(3.0), indexing="ij")
    places = torch.stack([x, y], -1).view(6, 1, 2).repeat(1, 2, 1) * 2 + 1
    sizes = torch.tensor([[4.0, 2.0, 1.5, 0.0, 0, 0], [1.0, 0.5, 1.7, 1.57, 0, 0]])
    heights = torch.full((6, 2, 1), -1.0)
    anchors = torch.cat([places, heights, sizes.expand(6, 2, 6)], -1).view(12, 9)
    return Anchor3DPrediction(
        torch.randn(3, 12, 3, generator=generator) * 2 - 2,
        torch.randn(3, 12, 9, generator=generator) * 0.5,
        torch.randn(3, 12, 2, generator=generator),
        anchors,
        templates=((4.0, 2.0, 1.5), (1.0, 0.5, 1.7)),
        ranges=((0.0, 0.0, -1.0, 6.0, 4.0, -1.0),),
        levels=((2, 3),),
    )


def frame_boxes():
    """Ground truth of three frames on GRID: two boxes, one that leaves it, and four."""
    rows = [
        [0.3, 1.1, 0, 2.5, 1.0, 1.5, 0.4], [-1.5, -2.0, 0, 1.0, 4.0, 1.5, -2.0],
        [2.5, 4.5, 0, 4.0, 2.0, 1.5, 1.0],
        [-2.0, 3.0, 0, 1.5, 1.0, 1.5, 3.0], [1.0, -4.0, 0, 1.0, 1.0, 1.0, 0.0],
        [1.2, 0.2, 0, 3.0, 1.5, 2.0, 0.7], [-0.5, -0.5, 0, 0.6, 0.6, 1.7, 0.0],
    ]  # fmt: skip
    boxes = torch.cat([torch.tensor(rows), torch.zeros(7, 2)], dim=1)
    return list(boxes.split([2, 1, 4]))


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


def np_anchor_codes(prediction, frame, place):
    """Box in metres: middle, log size, yaw, velocity."""
    x, y, z, dx, dy, dz, yaw, *velocity = prediction.anchors[place].tolist()
    delta = prediction.deltas[frame, place]
    diagonal = np.sqrt(dx**2 + dy**2)
    return np.array(
        [
            x + delta[0] * diagonal, y + delta[1] * diagonal, z + dz / 2 + delta[2] * dz,
            np.log(dx) + delta[3], np.log(dy) + delta[4], np.log(dz) + delta[5], yaw + delta[6],
            velocity[0] + delta[7], velocity[1] + delta[8],
        ]
    )  # fmt: skip


def np_anchor_response(s, t):
    """gamma 2, boxes at 5 anchors of weight 0.5, direction of weight 0.3."""
    frames = []
    for frame in range(len(t.logits)):
        p, q = sigmoid(s.logits[frame]), sigmoid(t.logits[frame])
        classes = (yes_no_kl(p, q) * np.abs(p - q) ** 2).sum()
        best = q.max(1) * (q.max(1) > 0.05)
        located, certainty = 0.0, 0.0
        for place in np.argsort(-best)[:5]:
            a, b = (np_anchor_codes(prediction, frame, place) for prediction in (s, t))
            apart = np.abs(a - b)[:6].sum() + abs(np.sin(a[6] - b[6]))
            apart += 0.2 * np.abs(a - b)[7:].sum()
            ways = [np.exp(x.directions[frame, place]) for x in (s, t)]
            ways = [x / x.sum() for x in ways]
            turned = (ways[1] * np.log(ways[1] / ways[0])).sum()
            located += best[place] * (0.5 * apart + 0.3 * turned)
            certainty += best[place]
        frames.append(classes / max(best.sum(), 1) + located / max(certainty, 1))
    return np.mean(frames)


def np_bilinear(value, x_m, y_m):
    """(C, 5, 6) on GRID at a place, constant beyond the outer centres."""
    column = np.clip((x_m + 3) / 1 - 0.5, 0, 5)
    row = np.clip((y_m + 5) / 2 - 0.5, 0, 4)
    c, r = min(int(column), 4), min(int(row), 3)
    u, v = column - c, row - r
    upper = (1 - u) * value[:, r, c] + u * value[:, r, c + 1]
    lower = (1 - u) * value[:, r + 1, c] + u * value[:, r + 1, c + 1]
    return (1 - v) * upper + v * lower


def np_points(box):
    """Those of a box's nine points that lie on GRID."""
    x, y, _, dx, dy, _, yaw = box[:7]
    for along in (-dx / 2, 0, dx / 2):
        for across in (-dy / 2, 0, dy / 2):
            x_m = x + along * np.cos(yaw) - across * np.sin(yaw)
            y_m = y + along * np.sin(yaw) + across * np.cos(yaw)
            if -3 <= x_m < 3 and -5 <= y_m < 5:
                yield x_m, y_m


def cosine(a, b):
    return a @ b / np.sqrt((a @ a) * (b @ b))


def np_box_points(s, t, boxes, student_grid, teacher_grid):
    """Half the weight for the relation."""
    frames = []
    for a, b, frame in zip(s, t, boxes, strict=True):
        apart, related = [], []
        for box in frame:
            points = list(np_points(box))
            ours = [np_bilinear(a, *point) for point in points]
            theirs = [np_bilinear(b, *point) for point in points]
            apart += [np.abs(x - y).mean() for x, y in zip(ours, theirs, strict=True)]
            for i in range(len(points)):
                for j in range(len(points)):
                    difference = cosine(ours[i], ours[j]) - cosine(theirs[i], theirs[j])
                    related.append(abs(difference))
        frames.append(np.mean(apart) + 0.5 * np.mean(related))
    return np.mean(frames)


def np_affinity(s, t, mask):
    """Between the ten cells of each frame that weigh most."""
    frames = []
    for a, b, weight in zip(s, t, mask[:, 0], strict=True):
        cells = np.argsort(-weight.ravel())[:10]
        cells = [cell for cell in cells if weight.ravel()[cell] > 0]
        a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
        apart = [
            (cosine(a[:, i], a[:, j]) - cosine(b[:, i], b[:, j])) ** 2 for i in cells for j in cells
        ]
        frames.append(np.mean(apart))
    return np.mean(frames)
