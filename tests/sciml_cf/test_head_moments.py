import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from sciml_cf.head import Moments, ridge
from tests.problems import regression


def assert_same(a, b, tolerance=1e-13):
    for name in ("gram", "cross", "target_square", "weight"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=tolerance, atol=tolerance, msg=name)


def test_moments_are_means_of_products():
    phi, y = regression()
    moments = Moments.from_batch(phi, y)
    np.testing.assert_allclose(moments.gram, phi.T @ phi / 200, rtol=1e-12)
    np.testing.assert_allclose(moments.cross, phi.T @ y / 200, rtol=1e-12)
    np.testing.assert_allclose(moments.target_square, (y**2).mean(0), rtol=1e-12)
    assert moments.weight == 200
    assert (moments.num_features, moments.num_outputs) == (7, 3)


def test_long_batch_is_summed_in_chunks():
    phi, y = regression(rows=20_001)
    np.testing.assert_allclose(Moments.from_batch(phi, y).gram, phi.T @ phi / 20_001, rtol=1e-11)


def test_merge_equals_one_batch_of_all_rows():
    phi, y = regression()
    parts = [Moments.from_batch(phi[a:b], y[a:b]) for a, b in ((0, 30), (30, 31), (31, 200))]
    assert_same(parts[0] + parts[1] + parts[2], Moments.from_batch(phi, y))


def test_weights_count_rows():
    phi, y = regression()
    weights = torch.zeros(200, dtype=torch.float64)
    weights[:50], weights[50:80] = 2.0, 1.0
    repeated = torch.cat([phi[:50], phi[:80]]), torch.cat([y[:50], y[:80]])
    assert_same(Moments.from_batch(phi, y, weights), Moments.from_batch(*repeated))


def test_float32_features_are_multiplied_in_float64():
    phi, y = regression()
    phi, y = (1e3 + phi).float(), y.float()
    moments = Moments.from_batch(phi, y)
    assert moments.gram.dtype == torch.float64
    np.testing.assert_allclose(moments.gram, phi.double().T @ phi.double() / 200, rtol=1e-13)


def test_moments_carry_no_graph():
    phi, y = regression()
    assert not Moments.from_batch(phi.requires_grad_(), y).gram.requires_grad


def test_moments_in_the_graph_are_the_same_and_let_gradients_through():
    phi, y = regression()
    weights = torch.rand(200, dtype=torch.float64)
    assert_same(Moments.in_graph(phi, y), Moments.from_batch(phi, y), 1e-12)
    assert_same(Moments.in_graph(phi, y, weights), Moments.from_batch(phi, y, weights), 1e-12)
    few = phi[:4].clone().requires_grad_(), y[:4].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda *rows: ridge(Moments.in_graph(*rows), strength=0.1), few)


@pytest.mark.parametrize(
    ("features", "targets", "weights", "message"),
    [
        (torch.zeros(0, 3), torch.zeros(0, 1), None, "at least one row"),
        (torch.zeros(4, 3), torch.zeros(5, 1), None, r"`targets` must be \(4, C\)"),
        (torch.zeros(4), torch.zeros(4, 1), None, r"`features` must be floating \(rows, F\)"),
        (torch.zeros(4, 3, dtype=torch.int64), torch.zeros(4, 1), None, "int64"),
        (torch.zeros(4, 3), torch.zeros(4, 1), torch.ones(3), r"`weights` must be \(4,\)"),
    ],
)
def test_wrong_shapes_are_refused(features, targets, weights, message):
    with pytest.raises(ValueError, match=message):
        Moments.from_batch(features, targets, weights)


def test_merge_of_different_layers_is_refused():
    a, b = Moments.from_batch(*regression()), Moments.from_batch(*regression(features=5))
    with pytest.raises(ValueError, match="7 features"):
        a + b


def _reduce_in_process(rank, world, init, results):
    dist.init_process_group("gloo", init_method=init, rank=rank, world_size=world)
    phi, y = regression()
    first = len(phi) // 4
    part = slice(0, first) if rank == 0 else slice(first, None)
    moments = Moments.from_batch(phi[part], y[part]).all_reduce()
    names = "gram", "cross", "weight", "num_rows"
    torch.save({name: getattr(moments, name) for name in names}, f"{results}/{rank}.pt")
    weights = torch.full((len(phi[part]),), 1 / 256) if rank == 0 else None
    weighted = Moments.from_batch(phi[part], y[part], weights).all_reduce()
    assert weighted.num_rows == len(phi) and weighted.weight == len(phi) - first + first / 256
    dist.destroy_process_group()


def test_all_reduce_merges_unequal_processes_to_the_same_bits(tmp_path):
    mp.spawn(_reduce_in_process, args=(2, f"file://{tmp_path}/init", str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    whole = Moments.from_batch(*regression())
    for name, value in first.items():
        assert torch.equal(value, second[name])
        torch.testing.assert_close(value, getattr(whole, name), rtol=1e-13, atol=1e-13)
