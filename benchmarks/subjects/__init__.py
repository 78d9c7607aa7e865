"""What is measured: a model or a control as a source of latents or images, and how it is sampled."""
