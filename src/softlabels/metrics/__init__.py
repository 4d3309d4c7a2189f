"""What is measured on trained networks: pure functions of numpy arrays, computed in float64, without torch.

Symbols: N examples, K classes, d features; logits z `[N, K]`, labels y `[N]`, T temperature.
"""
