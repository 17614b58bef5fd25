"""What models are measured on, and so what training data must not contain: one module per benchmark."""
