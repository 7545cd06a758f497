"""The retrieval head: matching pairs move together, recalls are counted right."""

from __future__ import annotations

import pytest
import torch

from models.glimpse.retrieval import TEXT_SIZE, RetrievalHead, pool, recalls, train


def pairs(count, seed, noise=0.3):
    """Pictures and sentences that are two random views of the same hidden vectors, two sentences a picture."""
    maker = torch.Generator().manual_seed(7)
    to_picture, to_text = torch.randn(16, 24, generator=maker), torch.randn(16, TEXT_SIZE, generator=maker)
    torch.manual_seed(seed)
    hidden = torch.randn(count, 16)
    owners = torch.arange(count).repeat_interleave(2)
    texts = (hidden[owners] + noise * torch.randn(2 * count, 16)) @ to_text
    return (hidden @ to_picture)[None], torch.nn.functional.normalize(texts, dim=-1), owners


def test_a_trained_head_finds_pictures_it_never_saw():
    data, dev = pairs(300, 1), pairs(60, 2)
    head, history = train(data, dev, epochs=12, rows=50)
    found = recalls(head, dev[0][0], dev[1], dev[2])
    assert found["text to picture R@10"] > 0.8 > 10 / 60
    assert found["text to picture R@1"] <= found["text to picture R@5"] <= found["text to picture R@10"]
    assert max(h["text to picture R@1"] for h in history) == pytest.approx(found["text to picture R@1"])


def test_recalls_of_a_perfect_and_of_a_wrong_order():
    head = RetrievalHead(6, size=4)
    unit = torch.eye(4)
    head.pictures = lambda pooled: unit
    head.sentences = lambda vectors: unit[[0, 0, 1, 1, 2, 2, 3, 3]]
    owners = torch.arange(4).repeat_interleave(2)
    assert recalls(head, unit, torch.zeros(8, 1), owners)["text to picture R@1"] == 1.0
    assert recalls(head, unit, torch.zeros(8, 1), owners)["picture to text R@1"] == 1.0
    shifted = (owners + 1) % 4
    assert recalls(head, unit, torch.zeros(8, 1), shifted)["picture to text R@1"] == 0.0


def test_save_and_load(tmp_path):
    head = RetrievalHead(12, size=8, hidden=16).eval()
    head.save(tmp_path)
    again = RetrievalHead.load(tmp_path)
    pooled = torch.rand(3, 24)
    torch.testing.assert_close(again.pictures(pooled), head.pictures(pooled), rtol=1e-2, atol=1e-2)


def test_pooling_keeps_mean_and_maximum():
    assert pool(torch.tensor([[1.0, 0.0], [3.0, 4.0]])).tolist() == [2.0, 2.0, 3.0, 4.0]
