"""MPN and its backbones."""
