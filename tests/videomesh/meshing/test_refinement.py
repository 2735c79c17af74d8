"""Vertices move to where photographs agree, and stay where these know nothing."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import trimesh  # noqa: E402

from videomesh.meshing import refinement  # noqa: E402
from videomesh.meshing.refinement import Wanted, calm, find_peak, refine, spread  # noqa: E402
from videomesh.meshing.sparse_mesh import Mesh  # noqa: E402
from videomesh.meshing.surface import Views, edges_of, face_normals  # noqa: E402

SIZE, FOCAL, DISTANCE = 160, 300.0, 2.5
RADIUS = 0.5  # of the ball
PIXEL = (DISTANCE - RADIUS) / FOCAL  # on the ball, nearly
WAVES = np.random.default_rng(0).normal(size=(24, 3)) * 25  # of the texture, in radians per unit


def textured(points):
    """Brightness in 0..1 at points (..., 3), with detail of some pixels in every direction."""
    return 0.5 + 0.4 * np.tanh(np.sin(points @ WAVES.T + np.arange(24)).sum(-1) / 3)


def plain(points):
    return np.full(points.shape[:-1], 0.6)


def shaded(points):
    """Slopes of up to 6 of 255 a pixel, which bend too little to be texture."""
    return 0.5 + 0.4 * np.sin(points @ [5, 6, 5])


def look_at(position):
    """(3, 4) from the world to a camera there that looks at the origin; axes as OpenCV's."""
    forward = -position / np.linalg.norm(position)
    right = np.cross(forward, [0.1, 0.2, 1.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    return np.concatenate([rotation, -rotation @ position[:, None]], 1)


def make_views(count=16):
    """Cameras all round, above and below."""
    height = np.resize([0.8, -0.8, 0.2, -0.2], count)
    turn = np.arange(count) * np.pi * (3 - 5**0.5)
    flat = np.sqrt(1 - height**2)
    positions = DISTANCE * np.stack([np.cos(turn) * flat, np.sin(turn) * flat, height], 1)
    matrices = torch.tensor(np.stack([look_at(position) for position in positions]))
    return Views(matrices, (FOCAL, FOCAL), (SIZE / 2, SIZE / 2), (SIZE, SIZE))


def hit_ball(origin, rays, middle, radius):
    """Distances (..., ) along unit rays to a ball, inf where they miss it."""
    offset = origin - middle
    along = rays @ offset
    inside = along**2 - offset @ offset + radius**2
    return np.where(inside > 0, -along - np.sqrt(np.maximum(inside, 0)), np.inf)


def photograph(matrix, balls, brightness):
    """Grey uint8 (SIZE, SIZE, 3) of balls (middle, radius) before a dark background; noise of one step."""
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    rays = np.stack([(x - SIZE / 2) / FOCAL, (y - SIZE / 2) / FOCAL, np.ones_like(x)], -1) @ matrix[:, :3]
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    origin = -matrix[:, :3].T @ matrix[:, 3]
    depth = np.min([hit_ball(origin, rays, *ball) for ball in balls], axis=0)
    shown = np.isfinite(depth)
    points = origin + np.where(shown, depth, 0)[..., None] * rays
    noise = np.random.default_rng(1).normal(size=shown.shape)
    grey = np.clip(255 * np.where(shown, brightness(points), 0.1) + noise, 0, 255).round()
    return torch.tensor(np.repeat(grey[..., None], 3, -1).astype(np.uint8))


def photographs(views, balls, brightness):
    return [photograph(matrix.numpy(), balls, brightness) for matrix in views.cam_from_unit]


def everywhere(views):
    return [torch.ones(SIZE, SIZE, dtype=torch.bool) for _ in views.cam_from_unit]


def make_ball(off, middle=(0, 0, 0), radius=RADIUS):
    """A ball whose vertices are off its surface by off (V,) of their directions (V, 3)."""
    ball = trimesh.creation.icosphere(subdivisions=5)
    directions = np.array(ball.vertices)
    vertices = directions * (radius + off(directions))[:, None] + np.array(middle)
    return Mesh(torch.tensor(vertices), torch.tensor(np.array(ball.faces, dtype=np.int64)))


VOXEL = 0.02  # about what the ball's edges have


def wavy(directions):
    """Up to 1.5 px off, in waves much longer than a square."""
    return 1.5 * PIXEL * np.sin(4 * directions[:, 0] + 1) * np.cos(3 * directions[:, 2])


def get_error(mesh):
    """(V,) px off the ball's surface."""
    return (mesh.vertices.norm(dim=-1) - RADIUS).abs().numpy() / PIXEL


@pytest.fixture(scope="module")
def views():
    return make_views()


@pytest.fixture(scope="module")
def shown(views):
    """What a textured ball looks like."""
    return photographs(views, [(np.zeros(3), RADIUS)], textured)


def test_vertices_move_to_where_photographs_agree(views, shown):
    mesh = make_ball(wavy)
    refined, moves = refine(mesh, views, shown, everywhere(views), VOXEL)
    before, after = get_error(mesh), get_error(refined)
    assert before.mean() > 0.5
    assert after.mean() < 0.25 * before.mean()
    assert torch.equal(refined.faces, mesh.faces)
    assert moves.known_share > 0.8
    assert moves.moved_px == pytest.approx(
        float((refined.vertices - mesh.vertices).norm(dim=-1).mean()) / PIXEL, rel=0.1
    )


def test_what_is_right_stays(views, shown):
    mesh = make_ball(lambda directions: np.zeros(len(directions)))
    refined, _ = refine(mesh, views, shown, everywhere(views), VOXEL)
    error = get_error(refined)
    assert error.mean() < 0.1 and np.quantile(error, 0.99) < 0.25


def test_a_surface_without_texture_stays(views):
    mesh = make_ball(wavy)
    refined, moves = refine(mesh, views, photographs(views, [(np.zeros(3), RADIUS)], plain), everywhere(views), VOXEL)
    assert moves.known_share < 0.02
    assert (refined.vertices - mesh.vertices).norm(dim=-1).mean() < 0.03 * PIXEL


def test_a_shaded_surface_without_texture_stays(views):
    """Slopes are alike wherever the squares are. Where they are most alike is a matter of noise."""
    mesh = make_ball(wavy)
    refined, moves = refine(mesh, views, photographs(views, [(np.zeros(3), RADIUS)], shaded), everywhere(views), VOXEL)
    assert moves.known_share < 0.05
    assert (refined.vertices - mesh.vertices).norm(dim=-1).mean() < 0.1 * PIXEL


def test_photographs_of_something_else_change_little(views, shown):
    """As with wrong poses: nothing is alike for long."""
    mesh = make_ball(wavy)
    shuffled = [shown[(5 * index + 3) % len(shown)] for index in range(len(shown))]
    refined, moves = refine(mesh, views, shuffled, everywhere(views), VOXEL)
    assert moves.known_share < 0.2
    assert get_error(refined).mean() < 1.1 * get_error(mesh).mean()


def test_pixels_that_do_not_count_say_nothing(views, shown):
    mesh = make_ball(wavy)
    refined, moves = refine(mesh, views, shown, [torch.zeros(SIZE, SIZE, dtype=torch.bool)] * len(shown), VOXEL)
    assert moves == (0, 0, 0)
    assert torch.equal(refined.vertices, mesh.vertices)


def test_what_stands_in_front_is_not_taken_for_the_surface(views):
    """A small ball of another brightness hides parts of the large one, and moves over it from frame to frame."""
    small = (np.array([0.7, 0.0, 0.0]), 0.1)

    def brightness(points):
        return np.where(np.linalg.norm(points - small[0], axis=-1) < 0.11, 0.95, textured(points))

    large, front = (
        make_ball(lambda directions: np.zeros(len(directions)), *ball) for ball in ((np.zeros(3), RADIUS), small)
    )
    count = len(large.vertices)
    both = Mesh(torch.cat([large.vertices, front.vertices]), torch.cat([large.faces, front.faces + count]))
    refined, _ = refine(
        both, views, photographs(views, [(np.zeros(3), RADIUS), small], brightness), everywhere(views), VOXEL
    )
    behind = large.vertices[:, 0] > 0.4
    assert behind.sum() > 100
    error = get_error(Mesh(refined.vertices[:count][behind], both.faces))
    assert error.mean() < 0.15 and error.max() < 0.7


def test_a_square_beside_an_outline_is_not_read():
    """Of a ball before another, as a camera on their line sees them."""
    matrix = torch.tensor(look_at(np.array([DISTANCE, 0.0, 0.0])))
    views = Views(matrix[None], (FOCAL, FOCAL), (SIZE / 2, SIZE / 2), (SIZE, SIZE))
    large, front = (
        make_ball(lambda directions: np.zeros(len(directions)), *ball)
        for ball in (((0, 0, 0), RADIUS), ((0.7, 0, 0), 0.1))
    )
    both = Mesh(
        torch.cat([large.vertices, front.vertices]), torch.cat([large.faces, front.faces + len(large.vertices)])
    )
    shows = torch.ones(SIZE, SIZE, dtype=torch.bool)
    look = refinement.look_at(both, views, matrix, torch.zeros(SIZE, SIZE).half(), shows, VOXEL)

    def read(points, normals):
        """Whether squares are read, and how many px from the middle of the picture."""
        squares = refinement.lay_squares(points, normals, torch.full((len(points),), PIXEL))
        aside = points[:, 1:].norm(dim=-1) / (DISTANCE - points[:, 0]) * FOCAL
        return refinement.is_whole(squares, look), aside

    # The outline of the one in front is 16.8 px from the middle.
    facing = large.vertices[large.vertices[:, 0] > 0.3].float()
    whole, aside = read(facing, facing / RADIUS)
    assert not whole[aside < 18].any(), "hidden, or beside the outline"
    assert whole[(aside > 24) & (aside < 45)].float().mean() > 0.95
    facing = front.vertices[front.vertices[:, 0] > 0.7].float()
    whole, aside = read(facing, (facing - torch.tensor([0.7, 0, 0])) / 0.1)
    assert whole[aside < 6].all()
    assert whole[(aside > 10) & (aside < 14)].float().mean() < 0.2, "beside its own outline"


def test_the_same_photographs_give_the_same_mesh(views, shown):
    one, other = (refine(make_ball(wavy), views, shown, everywhere(views), VOXEL)[0] for _ in range(2))
    assert torch.equal(one.vertices, other.vertices)


def test_few_photographs_say_nothing():
    views = make_views(2)
    shown = photographs(views, [(np.zeros(3), RADIUS)], textured)
    assert refine(make_ball(wavy), views, shown, everywhere(views), VOXEL)[1].known_share == 0


# --------------------------------------------------------------------------------------------------------- its parts


def likeness(peak, height=0.9, bend=0.02):
    """(places,) a parabola with its peak so many steps from the middle."""
    steps = torch.arange(-refinement.STEPS, refinement.STEPS + 1)
    return height - bend * (steps - peak) ** 2


@pytest.mark.parametrize("peak", [0.0, 0.3, -1.4, 2.9])
def test_a_peak_is_found_between_places(peak):
    step, certainty = find_peak(likeness(peak)[None])
    assert float(step) == pytest.approx(peak, abs=1e-4)
    assert float(certainty) > 0


def test_the_nearest_of_two_peaks_counts():
    values = torch.tensor([[0.5, 0.6, 0.99, 0.7, 0.6, 0.7, 0.8, 0.7, 0.6, 0.5, 0.4]])
    assert float(find_peak(values)[0]) == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize(
    "values", [likeness(7), likeness(-7), likeness(0, height=0.4), torch.full((2 * refinement.STEPS + 1,), 0.8)],
    ids=["rises to the end", "falls from the start", "is unlike", "is flat"],
)  # fmt: skip
def test_without_a_peak_nothing_is_known(values):
    step, certainty = find_peak(values[None])
    assert (float(step), float(certainty)) == (0, 0)


def test_a_sharp_peak_is_surer():
    sharp, blunt = find_peak(torch.stack([likeness(0, bend=0.05), likeness(0, bend=0.005)]))[1]
    assert sharp > 5 * blunt


def test_moves_spread_to_the_neighbours():
    """The solution of the normal equations, by another way."""
    mesh = make_ball(wavy)
    mesh = Mesh(mesh.vertices[:642], torch.tensor(np.array(trimesh.creation.icosphere(subdivisions=3).faces)))
    random = np.random.default_rng(2)
    chosen = torch.tensor(np.sort(random.choice(642, 160, replace=False)))
    move, certainty = (torch.tensor(random.uniform(size=160)) for _ in range(2))
    edges = np.array(trimesh.creation.icosphere(subdivisions=3).edges_unique)
    matrix = refinement.STAY * np.eye(642)
    for one, other in edges:
        matrix[[one, other], [one, other]] += refinement.SMOOTH
        matrix[[one, other], [other, one]] -= refinement.SMOOTH
    matrix[chosen, chosen] += certainty.numpy()
    right = np.zeros(642)
    right[chosen] = (certainty * move).numpy()
    assert np.allclose(
        spread(mesh, edges_of(mesh)[0], chosen, Wanted(move, certainty, certainty)),
        np.linalg.solve(matrix, right),
        atol=1e-3,
    )


def test_a_triangle_does_not_turn_over():
    """Two vertices so close together that their moves would swap them."""
    mesh = make_ball(lambda directions: np.zeros(len(directions)))
    vertices = mesh.vertices.clone()
    one, other = mesh.faces[0, 0], mesh.faces[0, 1]
    vertices[other] = vertices[one] + 0.01 * (vertices[other] - vertices[one])
    mesh = Mesh(vertices, mesh.faces)
    move = torch.zeros_like(vertices)
    move[one] = 0.2 * (mesh.vertices[mesh.faces[0, 2]] - vertices[one])

    def count_turned(move):
        after = face_normals(Mesh(mesh.vertices + move, mesh.faces))
        return int(((face_normals(mesh) * after).sum(-1) < 0).sum())

    assert count_turned(move) > 0
    assert count_turned(calm(mesh, edges_of(mesh)[0], move)) == 0
    small = 1e-4 * torch.ones_like(move)
    assert torch.equal(calm(mesh, edges_of(mesh)[0], small), small), "what turns nothing over stays"
