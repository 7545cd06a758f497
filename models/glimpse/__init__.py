"""Glimpse: a small vision-language model, trained in this repository by gated cross-attention between two frozen models."""
