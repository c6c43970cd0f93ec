"""A trained ReLU network as a spiking network, without training it."""

from toolchain.post_training.convert import convert_post_training
from toolchain.post_training.plan import PostTrained, PostTrainingPlan, Step, TestAccuracy

__all__ = ["PostTrained", "PostTrainingPlan", "Step", "TestAccuracy", "convert_post_training"]
