"""Loaded once by the process from which local jobs are forked, so that a job starts in milliseconds, not seconds."""

import cv2  # noqa: F401
import numpy  # noqa: F401
import timm  # noqa: F401
import torch  # noqa: F401

import harness.tasks.complexity.measure
import harness.tasks.segmentation.evaluate
import harness.tasks.segmentation.train  # noqa: F401
import methods.build  # noqa: F401
