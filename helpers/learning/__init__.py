"""Batches, augmentation, losses and trainings that can be killed."""
