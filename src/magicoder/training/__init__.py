"""Fine-tuning: examples → steps → micro-batches → gradients → checkpoints. The only package with tensors.

Modules that decide what is computed (`settings`, `templates`, `encoded`, `batches`, `schedule`, `plan`) are plain Python
and numpy; those that compute (`tensors`, `attention`, `loss`, `models`, `optimizers`, `loop`, …) import torch at their
top and are themselves imported by the functions that use them.
"""
