"""Diffusion: the loss that a denoising network learns by, and sampling from it with classifier-free guidance."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .conditioning import Condition
from .parts import library


def denoising_loss(unet: Any, scheduler: Any, clean: Any, condition: Condition, generator: Any) -> Any:
    """Mean squared error of what the network says of the noise (or of the velocity), a scalar tensor.

    clean: tensor [batch, channels, height, width]. Times and noise are drawn from generator, so that a step can be
    repeated.
    """
    torch = library("torch")
    # Drawn on the processor: the same on every device.
    times = torch.randint(0, scheduler.config.num_train_timesteps, (len(clean),), generator=generator).to(clean.device)
    noise = torch.randn(clean.shape, generator=generator).to(clean.device)
    noisy = scheduler.add_noise(clean, noise, times)
    wanted = noise
    if scheduler.config.prediction_type == "v_prediction":
        wanted = scheduler.get_velocity(clean, noise, times)
    said = _said(unet, noisy, times, condition)
    return torch.nn.functional.mse_loss(said.float(), wanted.float())


def sample(
    unet: Any,
    scheduler: Any,
    condition: Condition,
    without: Condition,
    shape: Sequence[int],
    *,
    steps: int,
    guidance: float,
    seed: int,
    report: Callable[[int], None] = lambda done: None,
) -> Any:
    """A picture, tensor [1, *shape], in so many steps; guidance 1 asks the network for the prompt alone.

    Ho and Salimans (2022): away from what is said without the prompt, guidance times as far as the prompt leads.
    """
    torch = library("torch")
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence([seed, 0xD1FF]).generate_state(1)[0]))
    scheduler.set_timesteps(steps)
    picture = torch.randn((1, *shape), generator=generator) * scheduler.init_noise_sigma
    with torch.inference_mode():
        for done, time in enumerate(scheduler.timesteps):
            scaled = scheduler.scale_model_input(picture, time)
            said = _said(unet, scaled, time, condition)
            if guidance != 1.0:
                plain = _said(unet, scaled, time, without)
                said = plain + guidance * (said - plain)
            picture = scheduler.step(said, time, picture, generator=generator).prev_sample
            report(done + 1)
    return picture


def _said(unet: Any, noisy: Any, time: Any, condition: Condition) -> Any:
    return unet(noisy, time, condition.states, encoder_attention_mask=condition.mask).sample
