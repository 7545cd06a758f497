"""Weights in 8 and 4 bits: close to the exact ones, really smaller, and refused where nothing computes with them."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch import nn

from models.errors import EngineUnavailable
from models.needs import GROUP
from models.runtime import RuntimeChoice
from models.seeing.quantised import EightBitLinear, FourBitLinear, PackedLinear, quantise

SHAPES = [(192, 96), (80, 64), (64, 128), (64, 64)]  # 80 rows: the last block of the 4-bit layout is not whole
FEW, MANY = 1, 70


def choice(precision: str, device: str = "cpu") -> RuntimeChoice:
    return RuntimeChoice(device, precision, True, "")  # type: ignore[arg-type]


def random_linear(rows: int, columns: int, bias: bool = True) -> nn.Linear:
    torch.manual_seed(rows + columns)
    return nn.Linear(columns, rows, bias=bias)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_weight_is_further_off_than_half_a_step(shape):
    weight = random_linear(*shape).weight.detach()
    eight = EightBitLinear(weight).weight.float()
    # Half a step, and what bfloat16 rounds when it is unpacked (2^-9 of the weight).
    step = weight.abs().amax(1, keepdim=True) / 127
    assert bool(((eight - weight).abs() <= 0.51 * step + weight.abs() / 256).all())
    groups = weight.view(shape[0], -1, GROUP)
    step = ((groups.amax(-1) - groups.amin(-1)) / 15)[..., None]
    four = FourBitLinear(weight).weight.float().view_as(groups)
    assert bool(((four - groups).abs() <= 0.51 * step + groups.abs().amax() / 64).all())


@pytest.mark.parametrize("kind", [EightBitLinear, FourBitLinear])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rows", [FEW, MANY])
def test_the_product_is_the_one_with_the_unpacked_weights(kind, shape, rows):
    linear = random_linear(*shape)
    layer = kind(linear.weight.detach(), linear.bias)
    x = torch.randn(2, rows, shape[1])
    exact = nn.functional.linear(x, layer.weight.float(), linear.bias).detach()
    got = layer(x).detach()
    assert got.shape == (2, rows, shape[0])
    assert got.dtype == x.dtype
    assert float((got - exact).norm() / exact.norm()) < 0.01  # bfloat16 keeps 8 bits: 0.4 % a number


@pytest.mark.parametrize(("kind", "bound"), [(EightBitLinear, 0.015), (FourBitLinear, 0.12)])
def test_the_answer_is_close_to_the_exact_layers(kind, bound):
    """Relative error of the product: for normal weights 0.7 % (8 bits) and 8 % (4 bits) by the steps' size."""
    torch.manual_seed(0)
    weight = torch.randn(256, 512)
    for rows in (FEW, MANY):
        x = torch.randn(rows, 512)
        exact = x @ weight.t()
        assert float((kind(weight)(x) - exact).norm() / exact.norm()) < bound


def test_blocks_make_one_product(monkeypatch):
    from models.seeing import quantised

    linear = random_linear(192, 96)
    for kind in (EightBitLinear, FourBitLinear):
        layer = kind(linear.weight.detach())
        x = torch.randn(MANY, 96).bfloat16()
        whole = layer(x)
        monkeypatch.setattr(quantised, "BLOCK", 64 * 96)
        assert torch.equal(layer(x), whole)
        monkeypatch.undo()


@pytest.mark.parametrize("shape", [(192, 96), (64, 32), (64, 64), (80, 64)])
def test_four_bits_are_packed_as_torch_packs_them(shape):
    from models.seeing.quantised import _packed_places

    places = torch.randint(0, 16, shape, dtype=torch.uint8)
    expected = torch.ops.aten._convert_weight_to_int4pack_for_cpu(places.to(torch.int32), 1)
    packed = _packed_places(places)
    assert torch.equal(packed, expected)
    assert packed.is_contiguous()


def test_an_unknown_layout_is_left_to_the_kernel(monkeypatch):
    """Other processors pack 4 bits otherwise; there the kernel itself multiplies many rows."""
    from models.seeing import quantised

    layer = FourBitLinear(random_linear(192, 96).weight.detach())
    x = torch.randn(MANY, 96)
    weight, known = layer.weight, layer(x)
    monkeypatch.setattr(quantised, "_known_layout", lambda: False)
    assert torch.allclose(layer(x), known, atol=0.03)
    assert torch.allclose(layer.weight, weight, atol=0.005)


class Toy(nn.Module):
    """The names that real checkpoints have."""

    def __init__(self, width: int = 64, tied: bool = False) -> None:
        super().__init__()
        self.vision_tower = nn.ModuleDict({"layers": nn.ModuleList([nn.ModuleDict({"fc1": nn.Linear(width, width)})])})
        layer = {"q_proj": nn.Linear(width, width), "norm": nn.LayerNorm(width), "odd": nn.Linear(width, 40)}
        self.language_model = nn.ModuleDict({"layers": nn.ModuleList([nn.ModuleDict(layer)])})
        self.embed_tokens = nn.Embedding(96, width)
        self.lm_head = nn.Linear(width, 96, bias=False)
        if tied:
            self.lm_head.weight = self.embed_tokens.weight

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head


@pytest.mark.parametrize(("precision", "kind"), [("int8", EightBitLinear), ("int4", FourBitLinear)])
def test_layers_and_head_are_packed_and_what_sees_is_not(precision, kind):
    torch.manual_seed(0)
    model = quantise(Toy(), choice(precision))
    layer = model.language_model["layers"][0]
    assert type(layer["q_proj"]) is kind
    assert type(layer["odd"]) is EightBitLinear  # 40 rows are no multiple of 16
    assert type(model.lm_head) is EightBitLinear
    assert type(model.vision_tower["layers"][0]["fc1"]) is nn.Linear
    assert type(model.embed_tokens) is nn.Embedding
    assert type(layer["norm"]) is nn.LayerNorm


def test_a_tied_head_is_packed_beside_the_embeddings():
    model = quantise(Toy(tied=True), choice("int8"))
    assert isinstance(model.lm_head, PackedLinear)
    assert model.embed_tokens.weight.dtype == torch.float32


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_no_two_layers_are_held_twice_at_a_time(monkeypatch, precision):
    """Each exact weight is gone before the next is packed, so that the peak is the model and one layer."""
    from models.seeing import quantised

    model = Toy()
    weights = [weakref.ref(m.weight) for m in model.modules() if isinstance(m, nn.Linear)]
    alive = []
    pack = quantised._packed

    def counting(*arguments):
        alive.append(sum(w() is not None for w in weights))
        return pack(*arguments)

    monkeypatch.setattr(quantised, "_packed", counting)
    quantise(model, choice(precision))
    assert alive == [4, 3, 2]
    assert sum(w() is not None for w in weights) == 1  # what sees


def test_at_full_precision_nothing_changes():
    model = Toy()
    before = [id(m) for m in model.modules()]
    assert quantise(model, choice("bfloat16")) is model
    assert [id(m) for m in model.modules()] == before


def test_what_cannot_be_packed_is_refused_with_a_sentence(monkeypatch):
    from models.seeing import quantised

    with pytest.raises(EngineUnavailable, match=r"No weights of Sequential can be kept in int8\."):
        quantise(nn.Sequential(nn.Linear(8, 8)), choice("int8"))
    monkeypatch.setattr(quantised, "packed_precisions", lambda device: ())
    with pytest.raises(EngineUnavailable, match=r"no int4 kernels for the device cpu\.") as caught:
        quantise(Toy(), choice("int4"))
    assert "bfloat16" in caught.value.remedy


@pytest.mark.models
@pytest.mark.parametrize(("precision", "least"), [("int8", 0.95), ("int4", 0.9)])
def test_a_real_model_goes_on_saying_the_same(precision, least):
    """SmolLM2 picks the tokens that it picks in bfloat16, given the same text before. (Its own weights are 4-bit.)"""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from models.weights import smollm2_folder

    folder = smollm2_folder()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, local_files_only=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    text = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        whole = model.generate(ids, max_new_tokens=24, do_sample=False)
        packed = quantise(model, choice(precision))
        again = packed(whole).logits.argmax(-1)[0, ids.shape[1] - 1 : -1]
    said = whole[0, ids.shape[1] :]
    assert "Paris" in tokenizer.decode(said)
    assert float((again == said).float().mean()) >= least


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["int8", "int4"])
@pytest.mark.parametrize("rows", [FEW, MANY])
def test_a_gpu_computes_with_packed_weights(precision, rows):
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    torch.manual_seed(0)
    model = Toy(256)
    exact = model.language_model["layers"][0]["q_proj"]
    x = torch.randn(rows, 256)
    expected = exact(x)
    packed = quantise(model, choice(precision, "cuda")).to("cuda").language_model["layers"][0]["q_proj"]
    assert isinstance(packed, PackedLinear)
    got = packed(x.to("cuda").bfloat16()).float().cpu()
    assert float((got - expected).norm() / expected.norm()) < (0.02 if precision == "int8" else 0.12)
    assert float((packed.weight.float().cpu() - exact.weight).norm() / exact.weight.norm()) < 0.12
