"""What shapes, strides and memory mean."""
