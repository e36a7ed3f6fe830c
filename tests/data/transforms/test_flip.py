import numpy as np

from densefield.data.transforms import RandomDihedral, RandomFlip
from drawing import seeded


def test_flip_is_a_fair_coin():
    target = np.array([[1, 2], [3, 4]], np.uint8)
    image = np.repeat(target[..., None], 3, axis=2)
    rng = np.random.default_rng(seeded())
    flipped = 0
    for _ in range(400):
        moved_image, moved = RandomFlip()(image, target, rng)
        assert np.array_equal(moved_image[..., 1], moved)
        assert moved.tolist() in ([[1, 2], [3, 4]], [[2, 1], [4, 3]])
        flipped += int(moved[0, 0] == 2)
    assert 160 < flipped < 240
    assert RandomFlip(0.0)(image, target, rng)[1].tolist() == target.tolist()
    assert RandomFlip(1.0)(image, target, rng)[1].tolist() == [[2, 1], [4, 3]]


def test_dihedral_draws_all_eight():
    target = np.array([[1, 2], [3, 4]], np.uint8)
    image = np.repeat(target[..., None], 3, axis=2)
    rng = np.random.default_rng(seeded())
    seen = {tuple(RandomDihedral()(image, target, rng)[1].ravel()) for _ in range(300)}
    assert len(seen) == 8
