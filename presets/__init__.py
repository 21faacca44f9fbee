"""The preset format, the library on disk and the factory presets."""
