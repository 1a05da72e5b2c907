"""The commands of ``claran``: what they take (`*_options`, without heavy imports) and what they do (the same name)."""
