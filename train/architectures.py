"""The networks that can be saved, by torchvision's names, which need no torch to be known."""

ARCHITECTURES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
