"""The encoder-decoder of Garcia and Bernal: windows of a spectrogram, codes blended; and a form without windows."""

from .coder_settings import CoderSettings
from .coder_teacher import CoderTeacher

TEACHER = CoderTeacher(
    "autoencoder",
    {
        "faithful": CoderSettings(),
        "repaired": CoderSettings(way="cached", sample_rate=48000, window=64, latent=12, blend=1.0, learning_rate=3e-3),
    },
    {
        "faithful": "as published",
        "repaired": "ours",
    },
)
