"""The variational autoencoder of Garcia and Bernal: normalised, padded windows; and a form without windows."""

from .coder_settings import CoderSettings
from .coder_teacher import CoderTeacher

FAITHFUL = CoderSettings(learning_rate=1e-2, blend=0.75, filters=(16, 32, 64, 64, 64), latent=128, kl=1.0, scale="unit")
"""As published: a VAE on windows, normalised and padded, with more convolutions; Adam at 1e-2, blend 0.75.

Not published and chosen: as in `autoencoder`, and 80 dB of every window brought to 0..1 by its own extremes, which the
result gets back from the content's window; padding to multiples of the five layers' stride; 128 dense latents; the
divergence at the weight 1 of a Gaussian of variance 1; 50 epochs in batches of 8 as before. At this rate and weight the
latents say next to nothing: what is decoded is nearly the same picture in every window, between the content's extremes.
"""

TEACHER = CoderTeacher(
    "vae",
    {
        "faithful": FAITHFUL,
        "repaired": CoderSettings(
            way="cached", sample_rate=48000, window=64, latent=12, blend=0.75, learning_rate=3e-3, kl=0.01
        ),
    },
    {
        "faithful": "Garcia and Bernal's VAE: normalised, padded windows, blend 0.75, Adam 1e-2",
        "repaired": "causal convolutions without windows; codes moved to the style's, reached by a guarded mix",
    },
)
