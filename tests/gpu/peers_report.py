"""The figures of bench_peers.py against what issue and design ask, as Markdown. Pure functions of the result."""

import math

import plan as plans


def ratio(cell, peer="cublas", ours="octavo"):
    return cell[peer]["ms"] / cell[ours]["ms"]


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def verdict(value, must, aim, higher_is_better=True):
    def reaches(limit):
        return value >= limit if higher_is_better else value <= limit
    return "aim" if reaches(aim) else "must" if reaches(must) else "MISS"


def where(cell):
    return f"{cell['shape']} {cell['dtype']} {cell['tokens']}"


class Row:
    def __init__(self, what, must, aim, figure, result):
        self.cells = [what, must, aim, figure, result]


def worst_row(what, must, aim, cells, value, unit="x", higher_is_better=True):
    """Judged by its worst cell."""
    def text(number):
        return f"{number:.2f}x" if unit == "x" else f"{100 * number:.1f} %"
    if not cells:
        return Row(what, text(must), text(aim), "not measured", "-")
    values = [(value(cell), where(cell)) for cell in cells]
    worst = (min if higher_is_better else max)(values)
    if unit == "x":
        middle = f", mean {geometric_mean([v for v, _ in values]):.2f}x"
    else:
        middle = f", median {100 * sorted(values)[len(values) // 2][0]:.1f} %"
    return Row(what, text(must), text(aim), f"worst {text(worst[0])} ({worst[1]}){middle}, of {len(values)}",
               verdict(worst[0], must, aim, higher_is_better))


def rows(result, limits):
    cells, ceilings = result["cells"], result["ceilings"]

    def dims(cell):
        return min(cell["out_features"], cell["in_features"])
    many = [c for c in cells if dims(c) >= limits.large_dim and c["tokens"] >= limits.many_tokens]
    few = [c for c in cells if dims(c) >= limits.large_dim and c["tokens"] <= limits.few_tokens
           and c["out_features"] * c["in_features"] >= limits.streamed_bytes]

    def share_of_copy(cell):
        gbs = cell["out_features"] * cell["in_features"] / cell["octavo"]["ms"] / 1e6
        return gbs / ceilings["copy_gbs"]

    def decomposition(cell):
        return ratio(cell, "octavo", "octavo_t0") - 1
    table = [
        worst_row(f"tokens >= {limits.many_tokens}, dims >= {limits.large_dim}, against cuBLAS 16-bit", 1.3, 1.65, many, ratio),
        worst_row(f"any shape with dims >= {limits.any_dim}, against cuBLAS", 0.95, 1.0,
                  [c for c in cells if dims(c) >= limits.any_dim], ratio),
        worst_row(f"1 to {limits.few_tokens} tokens, weights of 58 MB and more, against cuBLAS", 1.6, 1.85, few, ratio),
        worst_row("the same, share of the copy bandwidth", 0.8, 0.9, few if ceilings else [], share_of_copy, "%"),
    ]
    for tokens, must, aim in zip(limits.peer_tokens, (8, 3, 1.7), (15, 5, 2.2)):
        measured = [c for c in result["eager"] if c["tokens"] == tokens and "bitsandbytes" in c]
        table.append(worst_row(f"against bitsandbytes t=6, eager, {tokens} tokens", must, aim, measured,
                               lambda c: ratio(c, "bitsandbytes")))
    for tokens in limits.paper_tokens:
        table.append(paper_row(cells, tokens))
    for what, must, aim, chosen in (
            (f"decomposition (t=6 against t=0) from {limits.decomposition_tokens} tokens", 0.05, 0.02,
             [c for c in cells if c["tokens"] >= limits.decomposition_tokens and dims(c) >= limits.any_dim]),
            ("the same, 1 token", 0.10, 0.05, [c for c in cells if c["tokens"] == 1 and dims(c) >= limits.any_dim])):
        table.append(worst_row(what, must, aim, chosen, decomposition, "%", higher_is_better=False))
    table += [host_row(result["host"]), upload_row(result["uploads"], ceilings)]
    return table


def paper_row(cells, tokens):
    ours = {c["paper_dim"]: ratio(c) for c in cells
            if c["paper_dim"] and c["tokens"] == tokens and c["dtype"] == "float16"}
    what = f"the paper's table, {tokens} tokens: above it in every column; at least 1.0"
    if not ours:
        return Row(what, "above", "1.0", "not measured", "-")
    figure = " ".join(f"{dim}: {value:.2f} ({plans.PAPER[dim]:.2f})" for dim, value in sorted(ours.items()))
    above = all(value > plans.PAPER[dim] for dim, value in ours.items())
    return Row(what, "above", "1.0", figure, "aim" if above and min(ours.values()) >= 1 else "must" if above else "MISS")


def host_row(host):
    what = "host synchronizations, allocations in Forward"
    if not host.get("checked"):
        return Row(what, "0", "0", "not measured", "-")
    good = host.get("captured") and not host.get("waits_for_the_device") and not host.get("allocates")
    return Row(what, "0", "0", ", ".join(f"{k}: {v}" for k, v in host.items() if k != "checked"), "aim" if good else "MISS")


def upload_row(uploads, ceilings):
    what = "upload of a warm file, share of the pinned copy rate"
    if not uploads or not ceilings:
        return Row(what, "80 %", "95 %", "not measured", "-")
    largest = max(uploads, key=lambda u: u["bytes"])
    share = largest["gbs"] / ceilings["upload_gbs"]
    return Row(what, "80 %", "95 %", f"{100 * share:.1f} % ({largest['gbs']:.1f} of {ceilings['upload_gbs']:.1f} GB/s, "
               f"{largest['bytes'] / 1e6:.0f} MB)", verdict(share, 0.8, 0.95))


def table(header, lines):
    return ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)] + [
        "| " + " | ".join(line) + " |" for line in lines]


def ratio_table(cells, dtype):
    """cuBLAS / Octavo: shapes by tokens."""
    chosen = [c for c in cells if c["dtype"] == dtype]
    tokens = sorted({c["tokens"] for c in chosen})
    by_shape = {}
    for cell in chosen:
        by_shape.setdefault(cell["shape"], {})[cell["tokens"]] = f"{ratio(cell):.2f}"
    return table([dtype] + [str(t) for t in tokens],
                 [[shape] + [row.get(t, "") for t in tokens] for shape, row in by_shape.items()])


def absolute_table(cells):
    """What stands behind the ratios, for two kinds of call: weights read at memory speed, and operations."""
    lines = []
    for c in cells:
        if c["dtype"] == "float16" and c["tokens"] in (1, 256, 2048):
            weights = c["out_features"] * c["in_features"]
            line = [c["shape"], str(c["tokens"])] + [f"{1e3 * c[k]['ms']:.1f}" for k in ("cublas", "octavo", "octavo_token")]
            line += [f"{weights / c['octavo']['ms'] / 1e6:.0f}", f"{2e-9 * weights * c['tokens'] / c['octavo']['ms']:.0f}",
                     f"{1e3 * c['int8_mm']['ms']:.1f}" if "int8_mm" in c else "", f"{100 * c['octavo']['spread']:.1f}"]
            lines.append(line)
    return table(["us", "tokens", "cuBLAS", "Octavo", "scope token", "GB/s", "TOPS", "int8 product alone", "spread %"], lines)


def eager_table(eager):
    lines = []
    for c in eager:
        peers = [f"{1e3 * c[k]['ms']:.0f}" if k in c else "-" for k in ("cublas", "bitsandbytes", "bitsandbytes_t0", "octavo", "octavo_t0")]
        lines.append([c["shape"], c["dtype"], str(c["tokens"])] + peers +
                     [f"{ratio(c, 'bitsandbytes'):.1f}x" if "bitsandbytes" in c else "-"])
    return table(["eager, us", "", "tokens", "cuBLAS", "bitsandbytes", "t=0", "Octavo", "t=0", "ratio"], lines)


def markdown(result, plan):
    environment, ceilings = result["environment"], result["ceilings"]
    checks = result["checks"]
    out = [", ".join(f"{k} {v}" for k, v in environment.items()),
           "measured: " + ", ".join(f"{k} {v:.1f}" for k, v in ceilings.items()) if ceilings else "no ceilings",
           f"checks: {len(checks)} products, {sum(bool(c['beyond_bound']) for c in checks)} beyond the bound, "
           f"largest error from 16 bit {100 * max((c['error_from_16_bit'] for c in checks), default=0):.2f} %; {result.get('seconds', 0):.0f} s"]
    if result["left_out"]:
        out.append("left out, no time: " + ", ".join(result["left_out"]))
    out.append("")
    out += table(["what", "must", "aim", "figure", "reached"], [row.cells for row in rows(result, plan.limits)])
    for dtype in ("float16", "bfloat16"):
        out += [""] + ratio_table(result["cells"], dtype)
    out += [""] + absolute_table(result["cells"]) + [""] + eager_table(result["eager"])
    if result["errors"]:
        out += ["", f"{len(result['errors'])} ERRORS:"] + [f"- {error[:300]}" for error in result["errors"][:12]]
    return "\n".join(out) + "\n"
