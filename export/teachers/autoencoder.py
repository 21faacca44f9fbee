"""The encoder-decoder of Garcia and Bernal: windows of a spectrogram, codes blended; and a form without windows."""

from dataclasses import replace

from .coder_settings import CoderSettings
from .coder_teacher import CoderTeacher

FAITHFUL = CoderSettings()
"""As published: windows of a spectrogram, convolutional encoder-decoder, mean square error, Adam at 1e-3, 50 epochs,
batches of 8, blend 0.03 at first and then 0.8, istft.

Not published and chosen: librosa's STFT (2048 every 512 at 22 050 Hz) and log(1 + magnitude), as in Ulyanov and
Lebedev; windows of 16 frames (0.37 s) that do not overlap; three layers of 16, 32 and 64 filters without a dense one;
training on the windows of content and style together; the blend as the way from the content's code to the mean code of
all the style's windows. That one gives what the authors report, periodic repetitions and discontinuities: the same is
added in every window, and every window is inverted by itself (joined=sounds). With style_code=cyclic, window by window,
the style's own spectrogram comes out, its notes and all. The phase is the content's, the kindest reading; inversion
zero-phase is the literal one of an istft of magnitudes.
"""

TEACHER = CoderTeacher(
    "autoencoder",
    {
        "faithful": FAITHFUL,
        "repaired": CoderSettings(way="cached", sample_rate=48000, window=64, latent=12, blend=0.8, learning_rate=3e-3),
        "first": replace(FAITHFUL, blend=0.03),
        "cyclic": replace(FAITHFUL, style_code="cyclic"),
    },
    {
        "faithful": "Garcia and Bernal's encoder-decoder, blend 0.8: windows of 16 frames, each inverted by itself",
        "repaired": "causal convolutions without windows; codes moved to the style's, reached by a guarded mix",
        "first": "the same as faithful at their first blend, 0.03",
        "cyclic": "the same as faithful, blended with the style window by window instead of with its mean",
    },
)
