"""The variational autoencoder of Garcia and Bernal: normalised, padded windows; and a form without windows."""

from .coder_settings import CoderSettings
from .coder_teacher import CoderTeacher

TEACHER = CoderTeacher(
    "vae",
    {
        "faithful": CoderSettings(
            learning_rate=1e-2, blend=0.75, filters=(16, 32, 64, 64, 64), latent=128, kl=1.0, scale="unit"
        ),
        "repaired": CoderSettings(
            way="cached", sample_rate=48000, window=64, latent=12, blend=1.0, learning_rate=3e-3, kl=0.01
        ),
    },
    {
        "faithful": "as published",
        "repaired": "ours",
    },
)
