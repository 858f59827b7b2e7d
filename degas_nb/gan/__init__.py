"""GANs: the generator that was found, against a critic."""
