"""Commands that are more than a few lines over the packages below: each a module with a Typer application."""
