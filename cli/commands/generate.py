"""``imagegen generate``: requests an image from a running server and saves it."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.client.image_files import SUFFIXES, check_encodable, output_format, read_image, save_images
from cli.options import ServerApiKey, ServerUrl
from cli.terminal import progress_bar, say
from config.printable import printable

if TYPE_CHECKING:
    from cli.client.http_client import ServerClient

Out = Annotated[Path, typer.Option("-o", "--out", help=f"File to write: {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}.")]
Size = Annotated[str | None, typer.Option("--size", help="WIDTHxHEIGHT in pixels.")]
Steps = Annotated[int | None, typer.Option("--steps", help="Denoising steps.")]
Seed = Annotated[int | None, typer.Option("--seed", help="The same seed gives the same image.")]
Seeds = Annotated[str | None, typer.Option("--seeds", help="each: image i of --n is drawn with the seed --seed + i.")]
Count = Annotated[int | None, typer.Option("--n", help="How many images.")]
Model = Annotated[str | None, typer.Option("--model", help="Model, where the server has several.")]
NegativePrompt = Annotated[str | None, typer.Option("--negative_prompt", help="What not to draw.")]
Guidance = Annotated[float | None, typer.Option("--guidance_scale", help="How closely to follow the prompt.")]
Strength = Annotated[float | None, typer.Option("--strength", help="How much of --image to change, 0 to 1.")]
Image = Annotated[Path | None, typer.Option("--image", help="Image to change.")]
Mask = Annotated[Path | None, typer.Option("--mask", help="Image that marks the part to repaint.")]
Timeout = Annotated[float, typer.Option("--timeout_s", min=1, help="Seconds to wait for the image.")]
Async = Annotated[bool, typer.Option("--async", help="Print the job's id and do not wait for the image.")]


def generate(
    prompt: Annotated[str, typer.Argument(help="What to draw.")],
    out: Out = Path("out.png"),
    size: Size = None,
    steps: Steps = None,
    seed: Seed = None,
    seeds: Seeds = None,
    n: Count = None,
    model: Model = None,
    negative_prompt: NegativePrompt = None,
    guidance_scale: Guidance = None,
    strength: Strength = None,
    image: Image = None,
    mask: Mask = None,
    url: ServerUrl = None,
    api_key: ServerApiKey = None,
    timeout_s: Timeout = 600.0,
    is_async: Async = False,
) -> None:
    """Draw PROMPT on a running server and save the image; with --image, change that image."""
    from cli.client.http_client import ServerClient  # imports httpx2, which the other commands do not need

    if mask is not None and image is None:
        raise typer.BadParameter("it marks a part of an image; give --image as well", param_hint="--mask")
    fields = {
        "prompt": prompt,
        "output_format": output_format(out),
        "size": size,
        "num_inference_steps": steps,
        "seed": seed,
        "seeds": seeds,
        "n": n,
        "model": model,
        "negative_prompt": negative_prompt,
        "guidance_scale": guidance_scale,
        "strength": strength,
    }
    given = {name: value for name, value in fields.items() if value is not None}
    check_encodable(given)
    images = {name: read_image(path) for name, path in (("image", image), ("mask", mask)) if path}
    with ServerClient(url, api_key, timeout_s) as client:
        if is_async:
            job_id = client.submit(given, images)
            say(job_id)
            address = f" --url {url}" if url else ""
            say(f"Its image comes with: imagegen jobs save {job_id} -o {shlex.quote(str(out))}{address}", err=True)
            return
        try:
            result = _draw(client, given, images)
        except KeyboardInterrupt:
            say("imagegen: cancelled", err=True)
            raise
    for path, drawn in zip(save_images(result, out), result["data"], strict=True):
        seed_of_image = drawn.get("seed")
        say(f"{path} (seed {result.get('seed') if seed_of_image is None else seed_of_image})")


def _draw(client: "ServerClient", fields: dict[str, Any], images: dict[str, Any]) -> dict[str, Any]:
    """Return the server's ImagesResponse and show a progress bar until it arrives; Ctrl-C cancels the job."""
    with progress_bar("steps") as progress:
        bar = progress.add_task("sending", total=None, steps="")

        def show(job: dict[str, Any]) -> None:
            step = job.get("step")
            total = job.get("total_steps")
            steps = f"step {step} of {total}" if step and total else ""
            status = printable(job["status"].replace("_", " "))
            progress.update(bar, description=status, total=100, completed=job.get("progress") or 0, steps=steps)

        return client.draw(fields, images, show)
