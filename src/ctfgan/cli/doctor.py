"""``ctfgan doctor``."""

from __future__ import annotations

import click


@click.command()
@click.option("--self-test/--no-self-test", default=True, help="Train, resume and sample a tiny generator, about ten "
              "seconds; on by default.")  # fmt: skip
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="What the self-test computes on.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for a bug report.")
def doctor(self_test: bool, device: str, as_json: bool) -> None:
    """Say whether this machine is fit for ctfgan, and what to mend if not.

    Every line is ok, warn (works, but could be better) or fail (does not work); exit code 2 if anything fails. The
    home folder is written ~, so that the output can be shown to others.
    """
    import json
    from collections import Counter
    from dataclasses import asdict

    from ctfgan.core.errors import CtfganError
    from ctfgan.core.text import plural
    from ctfgan.doctor import Status, examine

    told = []
    shown = ""
    for section, finding in examine(device, with_self_test=self_test):
        told.append((section, finding))
        if as_json:
            continue
        if section != shown:
            click.echo(section)
            shown = section
        click.echo(f"  {_coloured(finding.status)}  {finding.name}: {finding.detail}")
        if finding.remedy:
            click.echo(f"        -> {finding.remedy}")
    if as_json:
        content = [{"section": section} | asdict(finding) for section, finding in told]
        click.echo(json.dumps({"findings": content}, ensure_ascii=False, indent=1))
    counts: Counter[Status] = Counter(finding.status for _, finding in told)
    if counts["fail"]:
        broken = ", ".join(finding.name for _, finding in told if finding.status == "fail")
        raise CtfganError(f"this machine is not fit for ctfgan yet ({broken}); follow the remedies above")
    if not as_json:
        warnings = f", {plural(counts['warn'], 'warning')}" if counts["warn"] else ""
        click.echo(f"fit for ctfgan{warnings}")


def _coloured(status: str) -> str:
    colour = {"ok": "green", "warn": "yellow", "fail": "red"}[status]
    return click.style(f"{status:<4}", fg=colour)
