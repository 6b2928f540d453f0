"""What is measured: shapes of known models, token counts, and what the figures must and should be."""

from dataclasses import dataclass, field

MODELS = {
    "llama-3-8b": [(4096, 4096), (1024, 4096), (14336, 4096), (4096, 14336)],
    "llama-3-70b": [(8192, 8192), (28672, 8192), (8192, 28672)],
    "opt-13b": [(5120, 5120), (20480, 5120), (5120, 20480)],
    "opt-175b": [(12288, 12288), (49152, 12288)],
}
# The LLM.int8() paper, table 5: model dimension -> its speed over 16 bit for the first matrix of the feed-forward block
# (4 x the dimension). It names no token count; 2048 tokens reproduce its proportions.
PAPER = {768: 0.14, 1024: 0.20, 1536: 0.36, 2048: 0.51, 2560: 0.64, 4096: 0.86, 5140: 1.22, 12288: 1.81}
PAPER_TOKENS = (2048, 256)
TOKENS = (1, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
PEER_TOKENS = (1, 256, 4096)
OUTLIER_SHARE = 0.0015


@dataclass
class Shape:
    out_features: int
    in_features: int
    tokens: dict          # dtype name -> token counts
    peer_tokens: tuple = ()  # bitsandbytes, eager
    paper_dim: int = 0

    @property
    def name(self):
        return f"{self.out_features}x{self.in_features}"

    @property
    def weights(self):
        return self.out_features * self.in_features


@dataclass
class Limits:
    """From where on the rows of the table count."""
    large_dim: int = 4096
    any_dim: int = 1024
    many_tokens: int = 1024
    few_tokens: int = 16
    decomposition_tokens: int = 256
    streamed_bytes: float = 58e6
    paper_tokens: tuple = PAPER_TOKENS
    peer_tokens: tuple = PEER_TOKENS


@dataclass
class Plan:
    shapes: list
    limits: Limits = field(default_factory=Limits)


def full_plan():
    """In order of importance: what the time does not reach is left out at the end."""
    first = [(14336, 4096), (4096, 4096), (4096, 14336), (8192, 8192), (49152, 12288), (20480, 5120), (28672, 8192)]
    of_models = first + [s for shapes in MODELS.values() for s in shapes if s not in first]
    shapes = [
        Shape(*s, {"float16": TOKENS, "bfloat16": TOKENS if s in first[:2] else (1, 16, 256, 2048)},
              PEER_TOKENS if s in first[:4] or s == (20480, 5120) else ())
        for s in of_models]
    by_size = {(s.out_features, s.in_features): s for s in shapes}
    papers = []
    for dim in PAPER:
        shape = by_size.get((4 * dim, dim))
        if shape is None:
            shape = Shape(4 * dim, dim, {"float16": (1, 16, 256, 2048), "bfloat16": (2048,)})
            papers.append(shape)
        shape.paper_dim = dim
    return Plan(shapes[:len(first)] + papers + shapes[len(first):])


def tiny_plan():
    """The same logic in seconds on a CPU."""
    shapes = [
        Shape(96, 64, {"float16": (1, 4, 33), "bfloat16": (4,)}, (1, 4, 33), paper_dim=768),
        Shape(64, 192, {"float16": (1, 33), "bfloat16": (33,)}),
        Shape(33, 40, {"float16": (1, 4)}),
    ]
    return Plan(shapes, Limits(large_dim=64, any_dim=48, many_tokens=32, few_tokens=4, decomposition_tokens=32,
                               streamed_bytes=6000, paper_tokens=(33, 4), peer_tokens=(1, 4, 33)))
