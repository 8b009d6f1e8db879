"""Optimizers, schedules of the learning rate and clipping of gradients, each by its name in optax.

[R 1.9] has Adam and AdamW, [V 27, 28, 39] gradient descent; the rest is the field's, and optax's.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import optax

from jaxcnn._names import unknown

Schedule = Callable[[jax.Array | int], jax.Array | float]

OPTIMIZERS = {"sgd": optax.sgd, "adam": optax.adam, "adamw": optax.adamw}

# peak learning rate, number of steps, number of warm-up steps -> schedule
SCHEDULES: dict[str, Callable[[float, int, int], Schedule]] = {
    "constant_schedule": lambda peak, steps, warmup: optax.constant_schedule(peak),
    "cosine_decay_schedule": lambda peak, steps, warmup: optax.cosine_decay_schedule(peak, steps),
    "linear_schedule": lambda peak, steps, warmup: optax.linear_schedule(peak, 0.0, steps),
    "exponential_decay": lambda peak, steps, warmup: optax.exponential_decay(peak, steps, 0.01),
    "cosine_onecycle_schedule": lambda peak, steps, warmup: optax.cosine_onecycle_schedule(steps, peak),
    "linear_onecycle_schedule": lambda peak, steps, warmup: optax.linear_onecycle_schedule(steps, peak),
    "warmup_constant_schedule": lambda peak, steps, warmup: optax.warmup_constant_schedule(0.0, peak, warmup),
    "warmup_cosine_decay_schedule": lambda peak, steps, warmup: optax.warmup_cosine_decay_schedule(
        0.0, peak, warmup, steps
    ),
}

CLIPS = {
    "clip": optax.clip,
    "clip_by_global_norm": optax.clip_by_global_norm,
    "clip_by_block_rms": optax.clip_by_block_rms,
    "adaptive_grad_clip": optax.adaptive_grad_clip,
}


def learning_rates(name: str, peak: float, *, steps: int, warmup_steps: int = 0) -> Schedule:
    """The learning rate of each step: optax's schedule of that name, from `peak` down over `steps` steps.

    Args:
        name: one of `SCHEDULES`. "exponential_decay" falls to a hundredth of the peak, "linear_schedule" and the cosine
            ones to nothing; "..._onecycle_schedule" rise to the peak and fall again, by optax's own shares.
        peak: the highest learning rate.
        steps: the number of steps of the whole training.
        warmup_steps: over how many of them the rate rises from zero, for the schedules named "warmup_...".

    Raises:
        ValueError: an unknown name; a warm-up that the schedule does not have, or that is as long as the training.

    Example:
        >>> rate = learning_rates("warmup_cosine_decay_schedule", 0.1, steps=100, warmup_steps=10)
        >>> [round(float(rate(step)), 4) for step in (0, 10, 55, 100)]
        [0.0, 0.1, 0.05, 0.0]
    """
    if name not in SCHEDULES:
        raise ValueError(f"learning_rates: {unknown('schedule', name, SCHEDULES)}")
    if warmup_steps and not name.startswith("warmup_"):
        raise ValueError(f"learning_rates: {name} has no warm-up, got {warmup_steps} warm-up steps")
    if not 0 <= warmup_steps < steps:
        raise ValueError(f"learning_rates: warm-up steps must be fewer than the {steps} steps, got {warmup_steps}")
    return SCHEDULES[name](peak, steps, warmup_steps)


def make_optimizer(
    name: str, learning_rate: float | Schedule, *, clip: tuple[str, float] | None = None
) -> optax.GradientTransformation:
    """An optax optimizer by name, with gradients clipped first if asked.

    Args:
        name: one of `OPTIMIZERS`.
        learning_rate: a number, or a schedule as from `learning_rates`.
        clip: a name of `CLIPS` and its limit, as ("clip_by_global_norm", 1.0).

    Raises:
        ValueError: an unknown name, or a limit that is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> optimizer = make_optimizer("sgd", 1.0, clip=("clip_by_global_norm", 1.0))
        >>> gradient = jnp.array([3.0, 4.0])
        >>> [round(float(part), 4) for part in optimizer.update(gradient, optimizer.init(gradient))[0]]
        [-0.6, -0.8]
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"make_optimizer: {unknown('optimizer', name, OPTIMIZERS)}")
    rule = OPTIMIZERS[name](learning_rate)
    if clip is None:
        return rule
    clip_name, limit = clip
    if clip_name not in CLIPS:
        raise ValueError(f"make_optimizer: {unknown('clip', clip_name, CLIPS)}")
    if not 0 < limit < float("inf"):
        raise ValueError(f"make_optimizer: {clip_name}'s limit must be positive and finite, got {limit}")
    return optax.chain(CLIPS[clip_name](limit), rule)
