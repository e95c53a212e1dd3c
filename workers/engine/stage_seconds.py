"""How long the stages of a generation took, as OpenVINO GenAI measures them."""

import openvino_genai


def stage_seconds(metrics: openvino_genai.ImageGenerationPerfMetrics) -> dict[str, float]:
    """Return the seconds of one call by stage. The runtime counts milliseconds, and microseconds for its iterations."""
    milliseconds = {
        "text_encode": sum(metrics.get_text_encoder_infer_duration().values()),
        "denoise": sum(metrics.raw_metrics.iteration_durations) / 1000,
        "vae_encode": metrics.get_vae_encoder_infer_duration(),
        "vae_decode": metrics.get_vae_decoder_infer_duration(),
        "generate": metrics.get_generate_duration(),
    }
    return {stage: float(value) / 1000 for stage, value in milliseconds.items()}
