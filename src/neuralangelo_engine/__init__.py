"""NVIDIA's Neuralangelo as an engine of the workflow: upstream's programs, unmodified, run well."""
