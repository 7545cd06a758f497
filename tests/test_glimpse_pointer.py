"""The pointer: likely names can be copied, token after token, where their picture can be seen."""

from __future__ import annotations

import pytest
import torch

from models.glimpse.pointer import NamePointer
from tests.glimpse_tiny import tiny_config

WIDTH, VOCABULARY = 32, 300


@pytest.fixture(scope="module")
def table():
    torch.manual_seed(0)
    return torch.randn(VOCABULARY, WIDTH)


@pytest.fixture
def pointer(table):
    torch.manual_seed(1)
    pointer = NamePointer(tiny_config(labels=["a b", "c"], names=["d e"], pointer_size=64))
    pointer.start()
    for row, ids in enumerate(([10, 11], [12], [13, 14])):
        pointer.spellings[row, : len(ids)] = torch.tensor(ids)
    return pointer


NAMES = torch.tensor([[[0.0, 0.9], [2.0, 0.6]]])


def test_an_untrained_pointer_adds_nothing():
    assert not NamePointer(tiny_config()).strength.any()


def test_every_token_of_a_likely_name_can_be_copied_and_no_other(pointer, table):
    extra, tokens = pointer(torch.randn(1, 1, WIDTH), torch.randn(1, 1, WIDTH), pointer.candidates(NAMES, table))
    copied = {t for t, e in zip(tokens[0].tolist(), extra[0, 0].tolist(), strict=True) if e > 0}
    assert copied == {10, 11, 13, 14}


def test_a_name_that_was_begun_is_continued(pointer, table):
    extra, tokens = pointer(torch.zeros(1, 1, WIDTH), table[None, None, 13], pointer.candidates(NAMES, table))
    assert tokens[0, extra[0, 0].argmax()] == 14


def test_what_is_about_to_be_said_is_preferred(pointer, table):
    extra, tokens = pointer(table[None, None, 11], torch.zeros(1, 1, WIDTH), pointer.candidates(NAMES, table))
    assert tokens[0, extra[0, 0].argmax()] == 11


def test_names_of_pictures_that_cannot_be_seen_are_not_copied(pointer, table):
    visible, candidates = torch.tensor([[[False, True]]]), pointer.candidates(NAMES, table)
    extra, tokens = pointer(torch.randn(1, 1, WIDTH), torch.randn(1, 1, WIDTH), candidates, visible)
    copied = {t for t, e in zip(tokens[0].tolist(), extra[0, 0].tolist(), strict=True) if e > 0}
    assert copied == {13, 14}
    nothing = torch.zeros(1, 1, 2).bool()
    blind, _ = pointer(torch.randn(1, 1, WIDTH), torch.randn(1, 1, WIDTH), candidates, nothing)
    assert not blind.any()
