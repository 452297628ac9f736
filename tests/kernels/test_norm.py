from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from unstir.kernels import norm as module
from unstir.kernels.library import library
from unstir.kernels.norm import composed, norm

kernels = pytest.mark.skipif(library() is None, reason="the kernels need Linux and a C++ compiler")

CASES = [  # B, C, H, W, groups
    (2, 8, 4, 4, 2),
    (3, 5, 7, 3, 1),
    (3, 5, 7, 3, 5),
    (1, 130, 5, 6, 26),
    (2, 130, 3, 3, 10),
    (2, 64, 8, 8, 16),
    (2, 6, 1, 1, 2),
    (2, 1, 5, 4, 1),
    (3, 5, 7, 3, 0),
    (1, 130, 5, 6, 0),
    (2, 64, 8, 8, 0),
    (2, 6, 1, 1, 0),
    (2, 1, 5, 4, 0),
]
ROUNDING = 2**-8
"""The largest error, relative to the number, of rounding to bfloat16."""


@pytest.fixture
def no_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test fail that would compare PyTorch's operators with themselves."""

    def refuse(*args: object) -> Tensor:
        raise AssertionError("the kernel was not used")

    monkeypatch.setattr(module, "composed", refuse)


def normed(
    x: Tensor, gain: Tensor, shift: Tensor, groups: int, silu: bool = False, dropout: float = 0.0
) -> Tensor:
    return norm(x, gain, shift, groups, silu=silu, dropout=dropout)[0]


def parameters(*shape: int) -> tuple[Tensor, Tensor]:
    return 1 + 0.5 * torch.randn(shape), 0.5 * torch.randn(shape)


def exact(
    inputs: tuple[Tensor, ...], groups: int, silu: bool, dy: Tensor, factor: Tensor | float = 1
) -> list[Tensor]:
    """Return y and the gradients in float64, y multiplied by ``factor``, by PyTorch's operators."""
    x, gain, shift = (part.detach().double().requires_grad_() for part in inputs)
    y = composed(x, gain, shift, groups, silu, 0.0) * factor
    return [y.detach(), *torch.autograd.grad(y, (x, gain, shift), dy.double())]


def computed(
    inputs: tuple[Tensor, ...], groups: int, silu: bool, dy: Tensor, dropout: float = 0.0
) -> list[Tensor]:
    """Return y and the gradients that the kernel computes."""
    x, gain, shift = (part.detach().requires_grad_() for part in inputs)
    y = normed(x, gain, shift, groups, silu, dropout)
    return [y.detach(), *torch.autograd.grad(y, (x, gain, shift), dy)]


def assert_equal(results: list[Tensor], expected: list[Tensor], kind: torch.dtype) -> None:
    """Compare y, dx, dgain and dshift; y and dx may be rounded once to ``kind``."""
    rounding, error = (ROUNDING, 1e-4) if kind == torch.bfloat16 else (0.0, 1e-5)
    for name, result, right in zip(("y", "dx", "dgain", "dshift"), results, expected, strict=True):
        # A gradient is what is left of larger terms: its error is one of their size.
        size = right.square().mean().sqrt().item()
        torch.testing.assert_close(
            result.double(),
            right,
            rtol=error + (rounding if name in ("y", "dx") else 0.0),
            atol=error * (1 + size),
            msg=lambda text, name=name: f"{name}: {text}",
        )


@pytest.mark.parametrize("groups", [0, 1, 3])
@pytest.mark.parametrize("per_image", [False, True])
def test_the_composed_norm_is_its_definition(groups: int, per_image: bool) -> None:
    x = torch.randn(2, 6, 3, 4, dtype=torch.float64) * 3 + 1
    gain, shift = (part.double() for part in parameters(*((2, 6) if per_image else (6,))))
    expected = torch.empty_like(x)
    for b in range(2):
        for c in range(6):
            width = 6 // max(groups, 1)
            first = c - c % width
            among = x[b, first : first + width].flatten() if groups else x[b].flatten(1)
            mean, variance = among.mean(0), among.var(0, unbiased=False)
            x_hat = (x[b, c].flatten() - mean) / (variance + 1e-5).sqrt()
            a, s = (gain[b, c], shift[b, c]) if per_image else (gain[c], shift[c])
            u = a * x_hat + s
            expected[b, c] = (u / (1 + (-u).exp())).view(3, 4)
    torch.testing.assert_close(composed(x, gain, shift, groups, True, 0.0), expected)
    without = composed(x, gain, shift, groups, False, 0.0)
    torch.testing.assert_close(functional.silu(without), expected)


@kernels
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("per_image", [False, True], ids=["one gain", "a gain per image"])
@pytest.mark.parametrize("silu", [False, True], ids=["linear", "silu"])
def test_it_equals_pytorch(
    case: tuple[int, ...], kind: torch.dtype, per_image: bool, silu: bool, no_fallback: None
) -> None:
    batch, channels, *_, groups = case
    x = (torch.randn(case[:4]) * 2 + torch.randn(1, channels, 1, 1)).to(kind)
    inputs = (x, *parameters(*((batch, channels) if per_image else (channels,))))
    dy = torch.randn(case[:4]).to(kind)
    results = computed(inputs, groups, silu, dy)
    assert [r.dtype for r in results] == [kind, kind, torch.float32, torch.float32]
    assert_equal(results, exact(inputs, groups, silu, dy), kind)


@kernels
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("groups", [0, 32])
def test_it_equals_pytorch_on_a_wide_layer(kind: torch.dtype, groups: int, no_fallback: None) -> None:
    inputs = (torch.randn(3, 128, 24, 24).to(kind), *parameters(3, 128))
    dy = torch.randn(3, 128, 24, 24).to(kind)
    assert_equal(computed(inputs, groups, True, dy), exact(inputs, groups, True, dy), kind)


@kernels
@pytest.mark.parametrize("groups", [0, 2])
@pytest.mark.parametrize("silu", [False, True])
def test_the_x_it_returns_takes_a_gradient_of_its_own(groups: int, silu: bool, no_fallback: None) -> None:
    gain, shift = parameters(6)
    x, dy, around = (torch.randn(2, 6, 5, 3, requires_grad=i == 0) for i in range(3))
    y, same = norm(x, gain, shift, groups, silu=silu)
    assert torch.equal(same, x)
    (both,) = torch.autograd.grad((y * dy).sum() + (same * around).sum(), x, retain_graph=True)
    (alone,) = torch.autograd.grad((y * dy).sum(), x, retain_graph=True)
    (none,) = torch.autograd.grad((same * around).sum(), x)
    expected = exact((x, gain, shift), groups, silu, dy)[1]
    torch.testing.assert_close(both.double(), expected + around, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(alone.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(none, around)


@kernels
def test_the_gradient_around_it_is_added_before_rounding(no_fallback: None) -> None:
    gain, shift = parameters(8)
    x, dy, around = (torch.randn(2, 8, 4, 4).bfloat16() for _ in range(3))
    x.requires_grad_()
    (dx,) = torch.autograd.grad(norm(x, gain, shift, 2, silu=True), x, (dy, around))
    expected = exact((x, gain, shift), 2, True, dy)[1] + around
    torch.testing.assert_close(dx.double(), expected, rtol=ROUNDING, atol=1e-5)


@kernels
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("groups", [0, 2])
@pytest.mark.parametrize("per_image", [False, True])
def test_a_part_alone_gets_the_gradient_it_gets_with_others(
    kind: torch.dtype, groups: int, per_image: bool, no_fallback: None
) -> None:
    """The image where the weights are frozen, and the weights where nothing before them learns."""
    inputs = (torch.randn(2, 8, 5, 3).to(kind), *parameters(*((2, 8) if per_image else (8,))))
    dy = torch.randn(2, 8, 5, 3).to(kind)
    _, *together = computed(inputs, groups, True, dy)
    for i in range(3):
        parts = [part.detach().clone().requires_grad_(i == j) for j, part in enumerate(inputs)]
        (alone,) = torch.autograd.grad(normed(*parts, groups, silu=True), parts[i], dy)
        assert torch.equal(alone, together[i])


def _penalty(f: Callable[..., tuple[Tensor, Tensor]], inputs: list[Tensor], dy: Tensor) -> list[Tensor]:
    """Return the squared gradients of ``f`` and of a link around it, and the penalty's own gradients."""
    wanted = [part for part in inputs if part.requires_grad]
    y, x = f(*inputs)
    first = torch.autograd.grad((dy * y).sum() + (dy * x**3).sum(), wanted, create_graph=True)
    penalty = sum(part.double().square().sum() for part in first)
    second = torch.autograd.grad(penalty, wanted, allow_unused=True, materialize_grads=True)
    return [penalty.detach(), *second]


@kernels
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("groups", [0, 2])
@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_gradients_of_the_gradients(
    layout: torch.memory_format, groups: int, silu: bool, per_image: bool, frozen: bool
) -> None:
    x, dy = torch.randn(2, 2, 8, 5, 3)
    parts = [x.contiguous(memory_format=layout), *parameters(*((2, 8) if per_image else (8,)))]
    results = []
    for kind in (torch.float32, torch.float64):  # of which the first goes by the kernels
        inputs = [part.detach().to(kind).requires_grad_(not frozen or i == 0) for i, part in enumerate(parts)]
        results.append(_penalty(lambda *inputs: norm(*inputs, groups, silu=silu), inputs, dy.to(kind)))
    for result, right in zip(*results, strict=True):
        torch.testing.assert_close(result.double(), right, rtol=1e-4, atol=1e-4 * (1 + float(right.abs().max())))


@kernels
def test_gradients_of_the_gradients_in_bfloat16_and_around_dropout() -> None:
    x, dy = torch.randn(2, 2, 8, 5, 3).bfloat16()
    gain, shift = parameters(8)
    results = []
    for kind in (torch.bfloat16, torch.float64):
        inputs = [
            x.detach().to(kind).requires_grad_(),
            *(part.to(torch.promote_types(part.dtype, kind)) for part in (gain, shift)),
        ]
        results.append(_penalty(lambda *inputs: norm(*inputs, 2, silu=True), inputs, dy.to(kind)))
    for result, right in zip(*results, strict=True):
        assert (result - right).norm() < 0.03 * right.norm()
    y = normed(x.requires_grad_(), gain, shift, 2, silu=True, dropout=0.5)
    with pytest.raises(RuntimeError, match="cannot be differentiated twice: set dropout to 0"):
        torch.autograd.grad(y.sum(), x, create_graph=True)


def _layouts(x: Tensor) -> dict[str, Tensor]:
    """Return x laid out in memory in other ways."""
    wide = torch.zeros(x.shape[0], 2 * x.shape[1], x.shape[2], x.shape[3] + 3, dtype=x.dtype)
    strided = wide[:, 1::2, :, 1:-2].copy_(x)
    return {
        "rows": x.contiguous(),
        "channels last": x.contiguous(memory_format=torch.channels_last),
        "strided": strided,
        "pixels transposed": x.transpose(2, 3).contiguous().transpose(2, 3),
        "batch last": x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
    }


@kernels
@pytest.mark.parametrize("shape", [(3, 6, 5, 4), (2, 1, 5, 4), (2, 6, 1, 1), (1, 6, 4, 1)], ids=str)
@pytest.mark.parametrize("groups", [0, 1])
def test_memory_layout_does_not_matter(shape: tuple[int, ...], groups: int, no_fallback: None) -> None:
    x, dy = torch.randn(shape), torch.randn(shape)
    gain, shift = parameters(shape[1])
    expected = computed((x, gain, shift), groups, True, dy)
    for x_layout, x_as in _layouts(x).items():
        for dy_layout, dy_as in _layouts(dy).items():
            for result, right in zip(computed((x_as, gain, shift), groups, True, dy_as), expected, strict=True):
                assert torch.equal(result, right), (x_layout, dy_layout)


@kernels
def test_gains_and_expanded_gradients_of_any_layout(no_fallback: None) -> None:
    x, both = torch.randn(3, 4, 5, 2), torch.randn(3, 8)
    gain, shift = both.chunk(2, dim=1)  # as modulations come: rows of a wider matrix
    one = torch.ones(()).expand(x.shape)  # as the gradient of a sum comes
    results = computed((x, gain, shift), 2, True, one)
    assert_equal(results, exact((x, gain, shift), 2, True, torch.ones_like(x)), torch.float32)


@kernels
def test_a_float_gradient_of_a_bfloat16_output(no_fallback: None) -> None:
    inputs = (torch.randn(2, 8, 5, 3).bfloat16(), *parameters(8))
    weight = torch.randn(2, 8, 5, 3).bfloat16().float()
    x, gain, shift = (part.requires_grad_() for part in inputs)
    (normed(x, gain, shift, 2, silu=True).float() * weight).sum().backward()
    expected = exact(inputs, 2, True, weight)[1:]
    results = [x.detach(), *(part.grad for part in (x, gain, shift) if part.grad is not None)]
    assert_equal(results, [results[0].double(), *expected], torch.bfloat16)


@kernels
@pytest.mark.parametrize("groups", [0, 2])
@pytest.mark.parametrize("pixels", [16, 64])
def test_a_large_mean_costs_no_accuracy(groups: int, pixels: int, no_fallback: None) -> None:
    x = 1000 + torch.randn(1, 8, pixels, pixels)
    gain, shift = torch.ones(8), torch.zeros(8)
    expected = composed(x.double(), gain.double(), shift.double(), groups, False, 0.0)
    torch.testing.assert_close(normed(x, gain, shift, groups).double(), expected, rtol=0, atol=1e-3)


@kernels
@pytest.mark.parametrize(("others", "outlier"), [(1000.0, 0.0), (0.0, 1000.0), (30.0, 15.0)])
@pytest.mark.parametrize("place", [(0, 0), (40, 17), (63, 63)], ids=str)
def test_one_pixel_far_from_the_others_costs_no_accuracy(
    others: float, outlier: float, place: tuple[int, int], no_fallback: None
) -> None:
    """Corners are like this: there the convolution before saw zeros."""
    x = others + torch.randn(1, 4, 64, 64)
    x[0, :, place[0], place[1]] = outlier
    gain, shift = torch.ones(4), torch.zeros(4)
    result, expected = normed(x, gain, shift, 1), composed(*(p.double() for p in (x, gain, shift)), 1, False, 0.0)
    assert (result - expected).norm() < 5e-5 * expected.norm()


@kernels
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("groups", [0, 1])
def test_silu_of_small_and_large_numbers(kind: torch.dtype, groups: int, no_fallback: None) -> None:
    ends = [60.0, 87.0, 88.5, 104.0, 200.0, 1e4]
    u = torch.cat([torch.linspace(-40, 40, 2001), torch.tensor(ends), -torch.tensor(ends)])
    x = torch.randn(2, len(u), 1, 2).to(kind)
    results = computed((x, torch.zeros_like(u), u), groups, True, torch.ones_like(x))
    wide = u.double().requires_grad_()
    y = functional.silu(wide)
    (slope,) = torch.autograd.grad(y.sum(), wide)
    rounding, error = (ROUNDING, 1e-4) if kind == torch.bfloat16 else (0.0, 1e-5)
    expected = y.detach().view(1, -1, 1, 1).expand(x.shape)
    torch.testing.assert_close(results[0].double(), expected, rtol=rounding + error, atol=1e-30)
    assert not results[1].any()  # the gain is 0
    assert bool(((results[3] / 4 - slope).abs() < error + 2e-7 * u.abs()).all())
    assert all(bool(result.isfinite().all()) for result in results)


@kernels
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("silu", "dropout"), [(False, 0.0), (True, 0.0), (True, 0.5)])
@pytest.mark.parametrize("groups", [0, 2])
def test_what_is_no_number_shows_where_it_is_and_nowhere_else(
    bad: float, kind: torch.dtype, silu: bool, dropout: float, groups: int, no_fallback: None
) -> None:
    x, dy = torch.randn(3, 8, 4, 4).to(kind), torch.randn(3, 8, 4, 4).to(kind)
    x[1, 5, 2, 3] = bad
    y, dx, dgain, dshift = computed((x, *parameters(3, 8)), groups, silu, dy, dropout)
    place = torch.zeros(x.shape, dtype=torch.bool)
    place[1, 4:] = True  # the second group
    if not groups:
        place[:] = False
        place[1, :, 2, 3] = True
    assert torch.equal(y.isnan() | (place & (y == 0)), place)
    assert y[place].isnan().float().mean() > 0.3
    assert torch.equal(dx.isnan(), place)
    assert bool(dgain[1, 4:].isnan().any() if dropout else dgain[1, 4:].isnan().all())
    for gradient in (dgain, dshift):
        assert bool(gradient[[0, 2]].isfinite().all())


@kernels
@pytest.mark.parametrize("groups", [0, 4])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16], ids=str)
def test_an_image_gives_the_same_alone_and_in_a_batch(groups: int, kind: torch.dtype, no_fallback: None) -> None:
    x, dy = torch.randn(4, 20, 5, 7).to(kind), torch.randn(4, 20, 5, 7).to(kind)
    gain, shift = parameters(4, 20)
    whole = computed((x, gain, shift), groups, True, dy)
    for i in range(4):
        part = slice(i, i + 1)
        alone = computed((x[part], gain[part], shift[part]), groups, True, dy[part])
        assert all(torch.equal(one, all_[part]) for one, all_ in zip(alone, whole, strict=True))


@kernels
@pytest.mark.parametrize("groups", [0, 4])
@pytest.mark.parametrize("batch", [1, 5])
def test_the_number_of_threads_does_not_matter(
    groups: int, batch: int, threads: Callable[[int], None], no_fallback: None
) -> None:
    inputs, dy = (torch.randn(batch, 16, 9, 9), *parameters(16)), torch.randn(batch, 16, 9, 9)
    results = []
    for count in (1, 2, 3):
        threads(count)
        torch.manual_seed(1)
        results.append(computed(inputs, groups, True, dy, 0.2))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@kernels
@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("groups", [0, 8])
def test_dropout_drops_so_many_and_scales_the_others(probability: float, groups: int, no_fallback: None) -> None:
    x, dy = torch.randn(4, 32, 16, 16), torch.randn(4, 32, 16, 16)
    inputs = (x, *parameters(4, 32))
    results = computed(inputs, groups, True, dy, probability)
    kept = results[0] != 0
    deviation = (probability * (1 - probability) / kept.numel()) ** 0.5
    assert kept.double().mean() == pytest.approx(1 - probability, abs=5 * deviation)
    # What is not dropped is scaled, and nothing else differs, in the gradients as in y.
    assert_equal(results, exact(inputs, groups, True, dy, kept / (1 - probability)), torch.float32)


@kernels
@pytest.mark.parametrize("groups", [0, 2])
def test_dropout_of_bfloat16(groups: int, no_fallback: None) -> None:
    x, dy = torch.randn(3, 10, 5, 4).bfloat16(), torch.randn(3, 10, 5, 4).bfloat16()
    inputs = (x, *parameters(10))
    results = computed(inputs, groups, True, dy, 0.3)
    assert_equal(results, exact(inputs, groups, True, dy, (results[0] != 0) / 0.7), torch.bfloat16)


@pytest.mark.parametrize("groups", [0, 2])
def test_dropout_may_drop_everything(groups: int) -> None:
    inputs = (torch.randn(2, 8, 3, 3), *parameters(8))
    assert all(not result.any() for result in computed(inputs, groups, True, torch.randn(2, 8, 3, 3), 1.0))


@pytest.mark.parametrize("groups", [0, 2])
@pytest.mark.parametrize("probability", [0.998, 0.9995, 1 - 1e-10])
def test_dropout_of_nearly_everything(groups: int, probability: float) -> None:
    inputs, dy = (torch.randn(4, 32, 32, 32), *parameters(32)), torch.randn(4, 32, 32, 32)
    results = computed(inputs, groups, True, dy, probability)
    kept = results[0] != 0
    wanted = (1 - probability) * kept.numel()
    assert int(kept.sum()) == pytest.approx(wanted, abs=5 * wanted**0.5)
    assert_equal(results, exact(inputs, groups, True, dy, kept / (1 - probability)), torch.float32)


@kernels
@pytest.mark.parametrize("groups", [0, 2])
def test_no_gradient_comes_from_what_is_dropped(groups: int, no_fallback: None) -> None:
    inputs = (torch.randn(2, 8, 6, 6), *parameters(8))
    torch.manual_seed(5)
    dropped = normed(*inputs, groups, silu=True, dropout=0.4) == 0
    dy = torch.where(dropped, 100 * torch.randn(dropped.shape), 0.0)
    torch.manual_seed(5)
    results = computed(inputs, groups, True, dy, 0.4)
    assert all(not gradient.any() for gradient in results[1:])


def _mask(shape: tuple[int, ...], probability: float = 0.5) -> Tensor:
    """Return what one call keeps."""
    channels = shape[1]
    return normed(torch.randn(shape), torch.zeros(channels), torch.ones(channels), 1, True, probability) != 0


@kernels
def test_dropout_is_drawn_from_pytorchs_generator(no_fallback: None) -> None:
    shape, masks = (2, 16, 16, 16), []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        masks.append([_mask(shape), _mask(shape)])
    for one, other in zip(masks[0], masks[1], strict=True):
        assert torch.equal(one, other)
    for one, other in ((masks[0][0], masks[2][0]), (masks[0][0], masks[0][1])):
        assert (one == other).double().mean() == pytest.approx(0.5, abs=5 * 0.5 / one.numel() ** 0.5)


@kernels
def test_dropout_masks_are_like_noise_and_independent(no_fallback: None) -> None:
    """No shift of a mask, by channels, pixels or images, resembles it or the mask of another call."""
    torch.manual_seed(7)
    masks = [_mask((4, 32, 32, 16)).permute(0, 2, 3, 1).flatten().double() for _ in range(6)]
    spectra = [torch.fft.rfft(mask - mask.mean()) for mask in masks]
    count = masks[0].numel()
    for i, one in enumerate(spectra):
        for j, other in enumerate(spectra[: i + 1]):
            correlation = torch.fft.irfft(one * other.conj(), count) / (count * 0.25)
            if i == j:
                assert correlation[0] == pytest.approx(1, abs=0.01)
                correlation[0] = 0
            assert correlation.abs().max() < 6.5 / count**0.5


@kernels
@pytest.mark.parametrize("groups", [0, 2])
def test_without_gradients_it_gives_the_same(groups: int, no_fallback: None) -> None:
    x, (gain, shift) = torch.randn(2, 6, 3, 5, requires_grad=True), parameters(6)
    expected = normed(x, gain, shift, groups, silu=True).detach()
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            assert torch.equal(normed(x, gain, shift, groups, silu=True), expected)
            assert normed(x, gain, shift, groups, silu=True, dropout=0.5).isfinite().all()


@pytest.mark.parametrize("shape", [(0, 6, 4, 4), (0, 6, 1, 1)], ids=str)
@pytest.mark.parametrize("groups", [0, 2])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_an_empty_batch(shape: tuple[int, ...], groups: int, dropout: float) -> None:
    y, dx, dgain, dshift = computed(
        (torch.randn(shape), *parameters(6)), groups, True, torch.randn(shape), dropout
    )
    assert y.shape == dx.shape == shape
    assert not dgain.any()
    assert not dshift.any()


@pytest.mark.parametrize("groups", [0, 2])
def test_other_types_and_dropout_without_silu_go_by_pytorch(groups: int) -> None:
    x, (gain, shift) = torch.randn(2, 8, 16, 16), parameters(2, 8)
    wide = normed(x.double(), gain.double(), shift.double(), groups, silu=True)
    torch.testing.assert_close(wide, composed(x.double(), gain.double(), shift.double(), groups, True, 0.0))
    assert wide.dtype == torch.float64
    dropped = normed(x, gain, shift, groups, dropout=0.25)
    kept = dropped != 0
    assert kept.double().mean() == pytest.approx(0.75, abs=0.03)
    expected = composed(x, gain, shift, groups, False, 0.0) / 0.75
    torch.testing.assert_close(dropped[kept], expected[kept], rtol=1e-5, atol=1e-5)
