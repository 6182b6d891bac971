"""What one step, counted on `meta` before anything is read or joined, says of a training on several GPUs or one that is to
repeat bit for bit."""

from __future__ import annotations

from harness.errors import UserError
from harness.jobs.context import Context
from harness.jobs.kinds import TrainConfig
from harness.tasks.segmentation.step_count import StepCount, count_step
from harness.training import distributed

UNREPEATABLE = {  # torch.use_deterministic_algorithms refuses them on CUDA: what they are parts of
    "_adaptive_avg_pool2d_backward": "adaptive average pooling to more than one cell",
    "adaptive_max_pool2d_backward": "adaptive max pooling",
    "grid_sampler_2d_backward": "grid_sample",
    "torchvision::_deform_conv2d_backward": "deformable convolution",
    "reflection_pad2d_backward": "reflection padding",
    "upsample_bicubic2d_backward": "bicubic upsampling",
    "nll_loss2d_forward": "the spatial form of nll_loss",
    "max_unpool2d": "max unpooling",
    "histc": "histc",
    "put_": "put_",
}


def has_idle_parameters(config: TrainConfig, context: Context) -> bool:
    """Whether the losses leave some of the model's parameters without a gradient, which several processes must know.

    Of Swin, for one, every map is normalised, and many heads read two of the four. Also true where the step cannot be
    counted. Raises UserError where the training is to repeat bit for bit and has an operation that CUDA cannot repeat.
    """
    repeatable = config.recipe.deterministic and context.device == "cuda"
    if not repeatable and distributed.place().world == 1:
        return False
    try:
        count = count_step(config, 2 * config.recipe.accumulate)
    except UserError:
        raise
    except Exception:  # it reads values that `meta` does not have, and torch itself will refuse what cannot be repeated
        return True
    if repeatable:
        refuse_unrepeatable(count, config)
    return bool(count.without_gradient)


def refuse_unrepeatable(count: StepCount, config: TrainConfig) -> None:
    """UserError that names the operations of a step that CUDA cannot repeat bit for bit."""
    reasons = [reason for name, reason in UNREPEATABLE.items() if name in count.operations]
    if reasons:
        raise UserError(
            f"recipe.deterministic: method '{config.model.name}' on '{config.model.backbone}' cannot be trained so on a GPU: "
            f"CUDA has {', '.join(reasons)} in no form that repeats bit for bit. Leave deterministic out, or train on a CPU"
        )
