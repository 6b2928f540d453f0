"""python -m octavo: eval and profile. What needs neither torch nor transformers is the binary `octavo`'s."""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys

from . import __version__
from .errors import InvalidArgumentError, OctavoError

EVAL_EXAMPLES = """examples:
  python -m octavo eval models/SmolLM2-135M --text emma.txt
  python -m octavo eval models/SmolLM2-135M --text emma.txt --tokens 4096 --json >quality.json
  python -m octavo eval models/gpt2 --text emma.txt --only 'default;compat=bitsandbytes' --picture curve.svg"""
PROFILE_EXAMPLES = """examples:
  python -m octavo profile models/SmolLM2-135M --text emma.txt -o profile.json
  python -m octavo profile models/SmolLM2-135M --text emma.txt -o profile.json --picture features.svg
  octavo convert models/SmolLM2-135M -o model.8vo --keep-columns profile.json --keep-budget 0.01"""


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return value


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m octavo", description="Quality and profiles of models of transformers.")
    parser.add_argument("--version", action="version", version=f"octavo {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True)

    def verb(name, help_text, examples):
        made = verbs.add_parser(name, help=help_text, description=help_text, epilog=examples,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
        made.add_argument("model", metavar="MODEL", help="a Hugging Face folder with 16-bit weights")
        made.add_argument("--text", required=True, metavar="FILE",
                          help="plain text to run, or bible-kjv, which is fetched from Debian")
        made.add_argument("--tokens", type=positive, default=1024, metavar="N", help="how much of it is run (default: 1024)")
        made.add_argument("--context", type=positive, default=256, metavar="N", help="tokens of a sequence at most (default: 256)")
        made.add_argument("--json", action="store_true", help="print JSON")
        made.add_argument("--picture", action="append", default=[], metavar="FILE", help="draw, PNG or SVG; repeatable; needs matplotlib")
        made.add_argument("-q", "--quiet", action="store_true", help="no progress")
        return made

    run = verb("eval", "What each choice of int8 costs: KL divergence from the 16-bit model, perplexity, agreement.", EVAL_EXAMPLES)
    run.add_argument("--only", metavar="NAME;…", help="only these rows, by their names, with ; between them")
    run = verb("profile", "Which input features of the linears get large: what --keep-columns takes.", PROFILE_EXAMPLES)
    run.add_argument("-o", "--output", metavar="PROFILE.json", help="the profile to write")
    run.add_argument("--threshold", type=float, default=6.0, metavar="T", help="what counts as an outlier (default: 6)")
    run.add_argument("--features", type=positive, default=64, metavar="N", help="how many features of each linear (default: 64)")
    return parser


def run_eval(args: argparse.Namespace) -> None:
    from . import quality

    def say(name: str) -> None:
        if not args.quiet:
            print(f"octavo: {name}", file=sys.stderr, flush=True)
    names = None if args.only is None else {name.strip() for name in args.only.split(";")}
    known = {"16 bit", "bitsandbytes t=6", *(setup.name for setup in quality.setups())}
    if names is not None and names - known:
        raise InvalidArgumentError(f"--only: no row {sorted(names - known)}; the rows are {sorted(known)}")
    evaluation = quality.Evaluation(args.model, args.text, tokens=args.tokens, context=args.context, say=say)
    results = list(evaluation.all(lambda name: names is None or name in names))
    if args.json:
        print(json.dumps({"model": pathlib.Path(args.model).name, "tokens": evaluation.text.sequences.numel(),
                          "context": evaluation.text.sequences.shape[1], "results": quality.to_json(results)}, indent=1))
    else:
        print(quality.table(results))
        for result in results:
            if result.continuation is not None:
                print(f"{result.name}: {result.continuation!r}")
    for path in args.picture:  # last: what fails here must not take the results with it
        quality.draw(results, path)


def run_profile(args: argparse.Namespace) -> None:
    import torch
    import transformers

    from .profiling import profile
    from .quality import open_folder, sequences_of
    transformers.utils.logging.disable_progress_bar()
    tokenizer, _, model_class, context = open_folder(args.model, args.context)
    sequences = sequences_of(tokenizer, args.text, args.tokens, context)[0]
    model = model_class.from_pretrained(args.model, dtype=torch.float32).eval()
    found = profile(model, sequences.split(1), threshold=args.threshold, max_tokens=context)
    features = found.emergent_features()
    if args.output:
        found.save(args.output, args.features)
    if args.json:
        print(json.dumps({"threshold": args.threshold, "tokens": sequences.numel(), "features": features}, indent=1))
    else:
        print(f"{len(features)} features reach {args.threshold:g} in linears of the most usual width\n")
        print(f"{'feature':>8}{'linears':>10}{'tokens':>10}{'largest':>10}")
        for f in features[:20]:
            print(f"{f['feature']:8}{f['layers']:10.1%}{f['tokens']:10.1%}{f['max_abs']:10.1f}")
    for path in args.picture:
        found.draw(path)


def main() -> int:
    args = make_parser().parse_args()
    try:
        for path in [*args.picture, getattr(args, "output", None)]:  # before what takes minutes
            if path and not (folder := pathlib.Path(path).parent).is_dir():
                raise InvalidArgumentError(f"{folder}: no such folder")
        for path in args.picture:
            if pathlib.Path(path).suffix not in (".png", ".svg"):
                raise InvalidArgumentError(f"--picture {path}: PNG or SVG, by its ending (.png, .svg)")
        {"eval": run_eval, "profile": run_profile}[args.verb](args)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has enough; what is left goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except ImportError as error:
        print(f"octavo: {args.verb} needs torch and transformers, and --picture matplotlib: {error}", file=sys.stderr)
        return 1
    except (OctavoError, OSError) as error:
        print(f"octavo: {error}", file=sys.stderr)
        return 2 if getattr(error, "status", 0) == 1 else 3 if getattr(error, "status", 0) in (9, 10, 11) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
