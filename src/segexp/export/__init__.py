"""Export models for other programs: ONNX, TorchScript, torch.export and bioimage.io, each compared with `Predictor`.

`graph` holds what is exported, `formats` writes it, `quantize` makes it smaller, `bioimageio` packs it.
"""
