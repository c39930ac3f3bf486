"""Figures of a synthetic set in plain NumPy: trivial guesses, a linear probe, boundary scores."""

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_gradient_magnitude, sobel

from harness.boundary import BoundaryRule, count_image, ground_truth, score

PATCH = 8
RULE = BoundaryRule.quick(0.011)  # at this size PASCAL's tolerance is only one pixel


def patches(array):
    """[H, W, C] to [h, w, 64, C]; what is left over at the right and below is dropped."""
    h, w = array.shape[0] // PATCH, array.shape[1] // PATCH
    cut = array[: h * PATCH, : w * PATCH].reshape(h, PATCH, w, PATCH, -1)
    return cut.transpose(0, 2, 1, 3, 4).reshape(h, w, PATCH * PATCH, -1)


def spread(values, size):
    """[h, w, C] to [H, W, C] by repetition."""
    rows = np.minimum(np.arange(size[0]) // PATCH, values.shape[0] - 1)
    columns = np.minimum(np.arange(size[1]) // PATCH, values.shape[1] - 1)
    return values[rows][:, columns]


def features(image):
    """Colour mean and spread, gradients and place of every patch, with their squares: [h, w, F]."""
    x = image.astype(np.float64) / 255
    grey = x.mean(2)
    gradients = np.abs(np.stack([sobel(grey, 0), sobel(grey, 1)], 2))
    p = patches(x)
    h, w = p.shape[:2]
    place = np.stack(np.meshgrid(np.linspace(-1, 1, h), np.linspace(-1, 1, w), indexing="ij"), 2)
    f = np.concatenate([p.mean(2), p.std(2), patches(gradients).mean(2), place], 2)
    pairs = f[..., :, None] * f[..., None, :]
    return np.concatenate([np.ones((h, w, 1)), f, pairs[..., *np.triu_indices(f.shape[2])]], 2)


class Probe:
    """Ridge regression from patch features to the mean target of the patch."""

    def __init__(self, reader, target):
        xs, ys, weights = [], [], []
        for image_id in reader.ids:
            f, (y, valid) = features(reader.image(image_id)), target(reader, image_id)
            share = patches(valid[..., None].astype(float)).mean(2)
            mean = patches(y * valid[..., None]).mean(2) / np.maximum(share, 1e-9)
            xs.append(f.reshape(-1, f.shape[2]))
            ys.append(mean.reshape(-1, y.shape[2]))
            weights.append(share.ravel())
        x, y, weight = np.concatenate(xs), np.concatenate(ys), np.concatenate(weights)[:, None]
        self.mean = (weight * y).sum(0) / weight.sum()
        gram = x.T @ (weight * x) + 0.1 * np.eye(x.shape[1])
        self.solution = np.linalg.solve(gram, x.T @ (weight * y))

    def __call__(self, image):
        return spread(features(image) @ self.solution, image.shape[:2])


def one_hot(task, count):
    def target(reader, image_id):
        label = reader.label(image_id, task)
        return np.eye(256)[label][..., :count], label != 255

    return target


def vectors(reader, image_id):
    normals = reader.label(image_id, "normals")
    return normals.astype(float), (normals != 0).any(2)


def metres(reader, image_id):
    depth = reader.label(image_id, "depth").astype(float)
    return depth[..., None], depth > 0


def salient(reader, image_id):
    label = reader.label(image_id, "saliency")
    return (label == 1).astype(float)[..., None], label != 255


def ious(reader, task, count, predict):
    """IoU per class; classes that are neither there nor predicted count 0."""
    confusion = np.zeros((count, count))
    for image_id in reader.ids:
        label = reader.label(image_id, task)
        if task == "parts" and not label.any():
            continue
        valid = label != 255
        guess = predict(reader, image_id)
        pairs = label[valid].astype(int) * count + guess[valid]
        confusion += np.bincount(pairs, minlength=count**2).reshape(count, count)
    hits = np.diag(confusion)
    return hits / np.maximum(confusion.sum(0) + confusion.sum(1) - hits, 1)


def rmse(reader, predict):
    squares = pixels = 0.0
    for image_id in reader.ids:
        y, valid = metres(reader, image_id)
        squares += ((predict(reader, image_id) - y)[valid] ** 2).sum()
        pixels += valid.sum()
    return np.sqrt(squares / pixels)


def mean_angle(reader, predict):
    total = pixels = 0.0
    for image_id in reader.ids:
        g, valid = vectors(reader, image_id)
        p = np.broadcast_to(predict(reader, image_id), g.shape)[valid]
        g = g[valid]
        p, g = (v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-9) for v in (p, g))
        total += 2 * np.arctan2(np.linalg.norm(p - g, axis=1), np.linalg.norm(p + g, axis=1)).sum()
        pixels += valid.sum()
    return np.rad2deg(total / pixels)


def max_f(reader, predict):
    """Pooled F-measure with squared beta 0.3 at the best of 19 thresholds."""
    levels = np.arange(0.05, 1, 0.05)
    hits, claimed, actual = np.zeros(19), np.zeros(19), 0.0
    for image_id in reader.ids:
        truth = salient(reader, image_id)[0][..., 0] > 0
        p = np.broadcast_to(predict(reader, image_id), truth.shape)
        over = p >= levels[:, None, None]
        hits += (over & truth).sum((1, 2))
        claimed += over.sum((1, 2))
        actual += truth.sum()
    precision, recall = hits / np.maximum(claimed, 1), hits / actual
    return (1.3 * precision * recall / np.maximum(0.3 * precision + recall, 1e-9)).max()


def ods_f(reader, predict, limit=None):
    counts = []
    for image_id in reader.ids[:limit]:
        truth = ground_truth(reader.label(image_id, "boundary"))
        counts.append(count_image(predict(reader, image_id).astype(np.float32), truth, RULE))
    return score(counts, RULE).ods_f


def sobel_map(reader, image_id):
    grey = reader.image(image_id).mean(2)
    strength = np.hypot(sobel(grey, 0), sobel(grey, 1))
    return strength / strength.max()


def edge_features(image):
    """Gradient strength of the three colours at three scales and the texture around: [H, W, F]."""
    x = image.astype(np.float64) / 255
    maps = [gaussian_gradient_magnitude(x[..., c], s) for c in range(3) for s in (0.7, 1.2, 2.5)]
    around = [gaussian_filter(m, 4) for m in maps[::3]]
    f = np.stack([*maps, *around], 2)
    return np.concatenate([np.ones((*x.shape[:2], 1)), f, f**2, np.sqrt(f)], 2)


def edge_probe(reader):
    """Ridge regression from `edge_features` to the boundary map; returns a predictor."""
    gram, right = 0.0, 0.0
    for image_id in reader.ids:
        f = edge_features(reader.image(image_id)).reshape(-1, 37)
        y = gaussian_filter((reader.label(image_id, "boundary") == 1).astype(float), 0.7).ravel()
        gram, right = gram + f.T @ f, right + f.T @ y
    solution = np.linalg.solve(gram + 0.1 * np.eye(37), right)

    def predict(other, image_id):
        p = edge_features(other.image(image_id)) @ solution
        return np.clip(p / np.percentile(p, 99.8), 0, 1)

    return predict
