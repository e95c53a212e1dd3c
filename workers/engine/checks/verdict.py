"""What becomes of a job and of the process that drew it, after something that a sick device does as well."""

from enum import StrEnum

# What the operator of a device that draws nothing right can do.
CURE = (
    'Set "INFERENCE_PRECISION_HINT": "f32" in plugin_config, spread the parts of the model over several devices '
    '(device: "TEXT_ENCODE DENOISE VAE"), or allow smaller sizes only (max_resolution).'
)


class Trouble(StrEnum):
    """What a request met. A device that fails does each of these, and so may a request on a device that works."""

    RUNTIME_ERROR = "runtime_error"
    NOT_FINITE = "not_finite"  # the model computed infinite numbers or NaN
    ONE_VALUE = "one_value"  # all pixels of an image have one single value, and the latents are finite


class DeviceVerdict(StrEnum):
    """What follows."""

    FAIL_JOB = "fail_job"  # the request was at fault: it fails once, and the process draws on
    KEEP_IMAGE = "keep_image"  # the image is one that the model draws: it stands, with a warning
    END_PROCESS = "end_process"  # the device is at fault: the process ends, and the job runs again on a fresh one


def verdict_on(trouble: Trouble, *, known_is_right: bool) -> DeviceVerdict:
    """Return what follows of a trouble; ``known_is_right``: the device still draws the known picture."""
    if not known_is_right:
        return DeviceVerdict.END_PROCESS
    return DeviceVerdict.KEEP_IMAGE if trouble is Trouble.ONE_VALUE else DeviceVerdict.FAIL_JOB
