"""``ctfgan serve``."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import click

from ctfgan.cli.options import DEVICE, MODEL


@click.command()
@MODEL
@click.option("--host", default="127.0.0.1", show_default=True,
              help="Address to listen on; 0.0.0.0 lets other machines in. There is no password.")  # fmt: skip
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65_535), help="0 takes a free one.")
@click.option("--open", "opens", is_flag=True, help="Open the page in the browser.")
@click.option("--max-images", default=128, show_default=True, type=click.IntRange(2, 10_000), help="In one answer.")
@click.option("--max-upload-mb", default=8, show_default=True, type=click.IntRange(1, 1_000),
              help="Size of an own image, in MiB.")  # fmt: skip
@DEVICE
def serve(
    model: Path,
    host: str,
    port: int,
    opens: bool,
    max_images: int,
    max_upload_mb: int,
    device: str,
) -> None:
    """Show a model in the browser: sample, slide between images, enhance own ones.

    \b
    ctfgan serve runs/my-run --open
    ctfgan serve bundle --port 0

    The same for other programs, described at /openapi.json:

    \b
    curl 'http://127.0.0.1:8000/api/sample?as=sheet' -o sheet.png \\
         -H 'Content-Type: application/json' -d '{"classes": ["A"], "n": 4}'
    curl 'http://127.0.0.1:8000/api/enhance?as=sheet' -o enhanced.png -F image=@own.png -F class=A
    """
    from ctfgan.cli import console
    from ctfgan.sampling.model import load
    from ctfgan.web.messages import MIB, Limits
    from ctfgan.web.server import is_loopback, open_socket, url_of
    from ctfgan.web.server import serve as serve_model

    limits = Limits(images=max_images, upload_bytes=max_upload_mb * MIB)
    with open_socket(host, port) as bound:
        loaded = load(model, device)

        def on_start() -> None:
            if not is_loopback(bound):
                console.say(
                    "Careful: whoever reaches this machine over the network can use the page; it has no password."
                )
            console.say(f"{url_of(bound)}   Ctrl-C ends it.")
            if opens:
                webbrowser.open(url_of(bound))

        serve_model(loaded, limits, host, bound, on_start)
