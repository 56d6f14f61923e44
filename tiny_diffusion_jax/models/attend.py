"""Scaled dot-product attention, which every model that looks at other points shares."""

import jax
import jax.numpy as jnp


def attend(q: jax.Array, k: jax.Array, v: jax.Array, heads: int, mask=None):
    """softmax(q k^T / sqrt(d)) v over `heads` heads, and the weights f32[B, heads, N, M].

    q f32[B, N, D], k and v f32[B, M, D], mask bool[B, M]: False is not looked at.
    """
    q, k, v = (a.reshape(*a.shape[:2], heads, -1) for a in (q, k, v))
    logits = jnp.einsum("bnhd,bmhd->bhnm", q * q.shape[-1] ** -0.5, k)
    if mask is not None:
        logits = jnp.where(mask[:, None, None], logits, -1e9)
    weights = jax.nn.softmax(logits, axis=-1)
    out = jnp.einsum("bhnm,bmhd->bnhd", weights, v)
    return out.reshape(*out.shape[:2], -1), weights
