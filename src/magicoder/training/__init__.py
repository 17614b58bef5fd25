"""Fine-tuning: examples → steps → micro-batches → gradients → checkpoints.

Modules that decide what is computed (`settings`, `data`, `encoding`, `encoded`, `order`, `packing`, `batches`,
`schedule`) are plain Python and numpy; those that compute (`tensors`, `attention`, `loss`, `models`, `optimizers`,
`loop`, …) import torch at their top and are themselves imported by the functions that use them.
"""
