"""Speed, memory and sampler measurements of MedDDPM; ``python -m benchmarks --help`` lists them."""
