"""From latents to tokens and back."""
