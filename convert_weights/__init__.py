"""Published weights -> safetensors for msst_jax: `python -m convert_weights NAME`. The only place that knows torch."""
