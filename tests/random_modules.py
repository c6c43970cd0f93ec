"""Random PyTorch modules, written as people write them: the source of a class, drawn line by line.

A line is a template. ``<a|b>`` is a choice, ``[[nn.ReLU()]]`` a submodule, ``$C``, ``$H`` and ``$W`` the
shape of ``x``, ``$G`` a divisor of its channels, ``$A`` a number, and ``z`` another value. A line that
PyTorch itself refuses for the shapes at hand is drawn again.
"""

from __future__ import annotations

import linecache
import random
import re
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toolchain.method import quantizers

_NAMES: dict[str, Any] = {"torch": torch, "nn": nn, "F": F, "quantizers": quantizers}

_CONVOLUTIONS = (
    "y = [[nn.Conv2d($C, <2|3|4>, <1|2|3|(1, 3)>, <1|2|(2, 1)>, <0|1>, bias=<True|False>)]](x)",
    "y = [[nn.Conv2d($C, $C, 3, padding=1, groups=$G)]](x)",
    "y = [[nn.Conv2d($C, 2 * $C, <2|3>, padding='<same|valid>', dilation=<1|2>, groups=$G)]](x)",
    "y = [[nn.Conv2d($C, 3, 3, padding=1, padding_mode='<reflect|replicate|circular>')]](x)",
    "w = [[nn.Conv2d($C, 2, <2|3>)]]; y = F.conv2d(x, w.weight, bias=w.bias, padding=<0|1>, dilation=<1|2>)",
    "y = [[nn.ConvTranspose2d($C, <2|3>, <1|2|3>, <1|2|(1, 2)>, <0|1>, <0|1>, dilation=<1|2>)]](x)",
    "y = [[nn.ConvTranspose2d($C, $C, 2, stride=2, groups=$G, bias=False)]](x)",
)

_MAPS = (
    *_CONVOLUTIONS,
    "y = [[nn.BatchNorm2d($C, affine=<True|False>)]](x)",
    "y = [[nn.AvgPool2d(<2|3|(1, 2)>, <1|2|None>, <0|1>, <True|False>, <True|False>)]](x)",
    "y = F.avg_pool2d(x, kernel_size=<2|3>, stride=<1|2|3>, padding=1, ceil_mode=<True|False>, "
    "count_include_pad=<True|False>, divisor_override=<None|2|7>)",
    "y = F.avg_pool2d(x, x.size()<[2:]|[3]>)",
    "b, c, h, w = x.shape; y = F.avg_pool2d(x, (h, w))",
    "y = F.avg_pool2d(input=x, kernel_size=x.shape[2] // 2)",
    "y = [[nn.AdaptiveAvgPool2d(<1|2|3|(None, 2)|(7, 7)>)]](x)",
    "y = F.adaptive_avg_pool2d(x, <1|(2, 1)|4|x.shape[2:]>)",
    "y = [[nn.Upsample(scale_factor=2)]](x)",
    "y = [[nn.Upsample(size=(5, 6), mode='<nearest|bilinear>')]](x)",
    "y = F.interpolate(x, scale_factor=<1|2|1.5|0.5>, mode='<nearest|nearest-exact|bilinear|area>')",
    "y = F.interpolate(x, size=<(4, 4)|x.shape[2:]|7>, mode='bilinear', align_corners=<True|False>)",
    "y = [[nn.PixelShuffle(2)]](x)",
    "y = F.pixel_unshuffle(x, 2)",
    "y = [[nn.ChannelShuffle($G)]](x)",
    "b, c, h, w = x.size(); y = x.view(b, $G, c // $G, h, w).transpose(1, 2).reshape(b, -1, h, w)",
    "y = [[nn.ZeroPad2d(<1|(1, 0, 2, 0)>)]](x)",
    "y = F.pad(x, <(1, 1)|(0, 1, -1, 0)|(0, 0, 0, 0, 1, 0)>)",
    "y = F.pad(x, (1, 0, 1, 0), mode='<reflect|replicate|circular>')",
    "y = [[nn.<ReflectionPad2d|ReplicationPad2d|CircularPad2d>(1)]](x)",
    "y = [[nn.ConstantPad2d(1, <0.0|0.5>)]](x)",
    "y = x.flatten(1)",
    "y = x.view(x.size(0), -1)",
    "b, c, h, w = x.shape; y = x.reshape(b, c * h * w)",
    "y = torch.flatten(x, start_dim=<1|2|-2>)",
    "y = x.reshape(-1, $C * $H * $W)",
    "y = [[nn.Flatten()]](x)",
    "y = x.permute(0, 2, 3, 1); y = [[nn.Linear($C, 3)]](y); y = y.permute(0, 3, 1, 2)",
    "y = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)",
    "y = [[nn.Linear($W, <1|3>)]](x)",
    "y = x[:, :<1|2|-1>]",
    "y = x[:, <1:|::2|[0, -1]|-1:|torch.tensor([1, 0])>]",
    "y = x[..., ::2, <::2|1:|:-1>]",
    "y = x[:, :, <1:-1|0:2>, 1:]",
    "y = x.<narrow(1, 0, 1)|flip(2)|roll(1, 3)|squeeze()|squeeze(1)|unsqueeze(1).squeeze(1)>",
    "y = x.<chunk(2, 1)|split(1, dim=1)|split([1, $C - 1], 1)|tensor_split(2, 1)|unbind(2)>[<0|-1>]",
    "y, w = x.chunk(2, dim=1); y = y - w",
    "y = x.mean(<(2, 3)|[-2, -1]|1|1, keepdim=True|3|dim=2, keepdim=True>)",
    "y = x.sum(<(2, 3)|1|1, keepdim=True|-1>)",
    "y = x - x.mean((2, 3), keepdim=True)",
    "y = x * [[nn.Conv2d($C, 1, 1)]].bias",
    "y = x * torch.linspace(<0|-1>, 1, $C).view(1, -1, 1, 1)",
    "y = x + torch.linspace(-1, 1, $C * $H * $W).view(1, $C, $H, $W)",
    "y = (x - 0.25) / torch.arange(1, $C + 1).view($C, 1, 1)",
)  # fmt: skip

_SEQUENCES = (
    "y = [[nn.Conv1d($C, <2|3>, <1|2|3>, padding=<0|1|'same'>, dilation=<1|2>)]](x)",
    "y = [[nn.ConvTranspose1d($C, 2, 2, stride=2)]](x)",
    "y = [[nn.BatchNorm1d($C)]](x)",
    "y = [[nn.AvgPool1d(2, <1|2>, <0|1>, <True|False>, <True|False>)]](x)",
    "y = [[nn.AdaptiveAvgPool1d(<1|2|3>)]](x)",
    "y = F.interpolate(x, scale_factor=2, mode='<nearest|linear>')",
    "y = F.pad(x, (1, 0))",
    "y = x.<flatten(1)|transpose(1, 2)|mean(2)|mean(1)|sum(-1, keepdim=True)|unsqueeze(2)|unsqueeze(1)>",
    "y = [[nn.Linear($W, 4)]](x)",
    "y = [[nn.Linear($W, 4)]](x).transpose(1, 2)",
    "y = x[:, <0|-1>]",
    "y = x.reshape(x.size(0), -1)",
    "y = x.view(x.size(0), -1, 1, $W)",
)  # fmt: skip

_FEATURES = (
    "y = [[nn.Linear($C, <3|5|8>, bias=<True|False>)]](x)",
    "w = [[nn.Linear($C, 4)]]; y = F.linear(x, w.weight, bias=w.bias)",
    "y = x @ [[nn.Linear($C, 4)]].weight.<t()|T>",
    "w = [[nn.Linear($C, 4)]]; y = torch.addmm(w.bias, x, w.weight.t())",
    "y = [[nn.BatchNorm1d($C)]](x)",
    "y = x[:, <:-1|::2|1:>]",
    "y = x.unsqueeze(-1).unsqueeze(-1)",
    "y = x[:, :, None, None]",
    "y = x.view(x.size(0), -1, 2)",
    "y = x.reshape(len(x), -1, 2, 2)",
    "y = [[nn.Unflatten(1, (-1, 2, 2))]](x)",
    "y = x - x.mean(1, keepdim=True)",
    "y = torch.repeat_interleave(x, 2, dim=1)",
)  # fmt: skip

_ANY_RANK = (
    "y = x * <0.5|-2|0.0>",
    "y = <2 * x|-x|torch.neg(x)|1 - x|x / 3|x.div(2)|x.clone()|x.contiguous()|x + 0|x.double()>",
    "y = x.mul_(0.5)",
    "x.add_(<1|-0.5>); y = x",
    "x *= -0.5; y = x",
    "y = torch.sub(x, 0.25, alpha=2)",
    "y = x.add(1)",
    "y = torch.rsub(x, 1)",
    "y = [[nn.<Dropout|Identity>()]](x)",
    "y = F.dropout(x, 0.5, <self.training|False>)",
    "y = F.dropout(x, p=0.25, training=self.training, inplace=<True|False>)",
    "x[:, :1] *= 2; y = x",
    "x[:, 1:].add_(0.5); y = x",
    "y = torch.empty_like(x); y[:] = x",
    "y = torch.zeros_like(x) + x",
    "y = x.detach()",
    "y = x.type_as(x).to(x.device)",
    "y = torch.mul(input=x, other=<0.5|torch.tensor(2.0)>)",
)  # fmt: skip

_UNUSUAL = (
    "y = x.reshape(x.shape[0], $H, $C, $W)",
    "y = x.view(len(x), $C, -1, 1)",
    "y = x * torch.linspace(0, 1, $W)",
    "y = x.masked_fill(torch.eye($H, $W) > 0, 0)",
    "y = x.transpose(<1, 2|2, 3|-1, 1>)",
    "y = x.<max(2)[0]|amax(1)|max(dim=-1, keepdim=True).values|max(3)[0].amax(2)>",
    "y = <x.type_as(x)|torch.square(x)|x.swapaxes(1, 2)|x.expand_as(x)|x.view_as(x)|x.tile((1, 2, 1, 1))>",
    "y = torch.einsum('b...->b...', x)",
    "y = x.select(1, 0)",
    "x[:, 0] = <0|1.5>; y = x",
)

_MAX_POOLS = (
    "y = [[nn.MaxPool2d(<2|3|(1, 2)>, <1|2|None>, <0|1>, <1|2>, ceil_mode=<True|False>)]](x)",
    "y = F.max_pool2d(x, <2|3>)",
    "y = F.max_pool2d(input=x, kernel_size=3, stride=<1|2>, padding=1)",
    "y = torch.max_pool2d(x, 2, 2, 0, 1, True)",
    "y = F.max_pool2d(x, x.shape[2:])",
    "y = [[nn.AdaptiveMaxPool2d(<1|2|(1, 3)>)]](x)",
    "y = F.adaptive_max_pool2d(x, <1|2>)",
    "y = x.amax((2, 3)<|, keepdim=True>)",
    "y = [[nn.MaxPool1d(2, <1|2>, <0|1>)]](x)",
    "y, w = F.max_pool2d(x, 2, return_indices=True)",
)  # fmt: skip

_RELUS = (
    "y = [[nn.ReLU(<True|False>)]](x)",
    "y = F.relu(x<|, True>)",
    "y = <torch.relu(x)|x.relu()|F.relu_(x)|x.relu_()|torch.relu_(x)>",
    "F.relu(x, inplace=True); y = x",
    "x.relu_(); y = x",
    "y = [[nn.<ReLU6()|Hardtanh(0, 2)|Hardtanh(0., 1., inplace=True)|Threshold(0, 0)>]](x)",
    "y = <F.relu6(x)|F.hardtanh(x, 0.0, 1.0)|x.clamp(min=0)|x.clamp_min(0)|torch.clamp(x, 0, 1)>",
    "y = <x.clamp(0, 1.5)|x.clamp_(0, 6)|x.clip(0, 2)|F.threshold(x, 0, 0)|F.hardtanh_(x, 0, 3)>",
    "y = <torch.maximum(x, torch.zeros_like(x))|torch.where(x.gt(0), x, 0.0)|x.gt(0) * x>",
)  # fmt: skip

_QUANTIZERS = (
    "y = [[quantizers.TimestepQuantizer(<1|2|3|5>, threshold=$A)]](x)",
    "y = [[quantizers.BitWidthStepQuantizer(<2|4>, threshold=$A)]](x)",
    "y = [[quantizers.BitWidthThresholdQuantizer(<1|4>, threshold=$A)]](x)",
    "y = [[quantizers.StepThresholdQuantizer(<2|3>, threshold=$A)]](x)",
    "y = [[quantizers.FixedTimestepQuantizer(<2|4>, threshold=$A)]](x=x)",
    "w = [[quantizers.TimestepQuantizer(3, threshold=$A)]]; y = w(w(x) - 0.3)",
)

_JOINS = (
    "y = <x + z|x - z|torch.add(x, z, alpha=0.5)|x.add(z, alpha=-1)|torch.add(input=x, other=z)|x.sub(z)>",
    "y = <x.add_(z)|x.add_(z, alpha=2)|x.sub_(z)|sum([x, z])|torch.stack((x, z)).sum(0)>",
    "<x += z|x -= z|x.add_(z)|torch.add(x, z, out=x)|x.copy_(z)>; y = x",
    "y = <torch.stack([x, z], -1).mean(-1)|torch.lerp(x, z, 0.25)|torch.stack([x, z], 1).flatten(1, 2)>",
    "y = torch.<cat([x, z], 1)|concat((z, x), dim=-1)|cat([x, z, x], dim=1)|hstack((x, z))>",
    "y = torch.add(x, z).mul(0.5)",
    "y = x + z.mean(1, keepdim=True)",
    "y = x + z.flatten(1).mean(1).view(-1, 1<|, 1|, 1, 1>)",
    "y = <x + z[:1]|x * z|torch.maximum(x, z)|x.addcmul(x, z)|x / z|torch.where(x.gt(z), x, z)>",
)  # fmt: skip

_REFUSED = (
    "y = [[nn.<GELU()|SiLU()|Sigmoid()|Tanh()|LeakyReLU()|PReLU()|Softmax(1)|Hardswish()|ELU()>]](x)",
    "y = <F.gelu(x)|torch.sigmoid(x)|x.tanh()|F.softmax(x, 1)|F.leaky_relu(x, 0.1)|x.exp()>",
    "y = <x.sort(1)[0]|x.topk(1, dim=1)[0]|x[x.gt(0)]|x.cumsum(1)|x.abs()|x ** 2|x.round()|x.std(1)>",
    "y = <x[x.argmax(1)[:1] * 0]|x.gather(1, x.argmax(1, keepdim=True))|x.index_select(0, x.long()[0])>",
    "y = <x + torch.rand_like(x)|x * torch.randn(1)|F.dropout(x, 0.5)|torch.bernoulli(x.clamp(0, 1))>",
    "y = <x.half().double()|x.to(torch.float16).to(x.dtype)|x.int().double()|x.float().double()>",
    "y = <torch.from_numpy(x.detach().numpy())|torch.tensor(x.tolist())|x * float(x.sum())>",
    "y = x if x.sum() > <-1e9|0> else -x",
    "y = <x + x.mean(0)|x.roll(1, 0)|x.flip(0)|x.sum()|x[0]|x.T|x.flatten()|x.transpose(0, 1)>",
    "y = [[nn.<BatchNorm2d($C, track_running_stats=False)|InstanceNorm2d($C)|GroupNorm(1, $C)>]](x)",
    "y = [[nn.<LayerNorm($W)|LocalResponseNorm(2)|LPPool2d(2, 2)|FractionalMaxPool2d(2, 3)>]](x)",
    "y = [[nn.<LSTM($W, 3)|RNN($W, 3)>]](x)[0]",
    "y = F.<lp_pool2d(x, 2, 2)|normalize(x)|unfold(x, 2)|grid_sample(x, torch.zeros(len(x), 2, 2, 2))>",
    "y = F.interpolate(x, scale_factor=1.7, mode='<bicubic|bilinear>')",
    "y = F.<conv2d(x, x[:1])|linear(x, x[0])|one_hot(x.long())|embedding(x.long(), torch.eye(9))>",
    "y = <torch.fft.fft(x).real|torch.linalg.norm(x, dim=1)|torch.complex(x, x)|x.logsumexp(1)|x.prod(1)>",
    "y = <x.numpy()|x.undefined()|x + 'a'|x.view(3, 5, 7)|x.data.mul_(2)|x.bool().double()|x * x>",
)  # fmt: skip

_HEADS = {
    2: ("return [[nn.Linear($C, 3)]](x)", "return x"),
    3: (
        "return [[nn.Linear($C * $W, 3)]](x.flatten(1))",
        "return [[nn.Linear($W, 3)]](x).mean(1)",
        "return x",
    ),
    4: (
        "return [[nn.Linear($C * $H * $W, <3|4>)]](<x.flatten(1)|x.view(x.size(0), -1)>)",
        "return [[nn.Linear($C, 3)]](x.mean((2, 3)))",
        "return [[nn.Conv2d($C, 2, 1)]](x)",
        "return F.adaptive_avg_pool2d([[nn.Conv2d($C, 3, 1)]](x), 1).flatten(1)",
        "return x",
    ),
}
_ANY_HEADS = (
    "return <x, z|[x, z]|{'first': x, 'second': z}|{'only': x}|(x, (z, x))>",
    "return <F.log_softmax(x.flatten(1), 1)|torch.softmax(x.flatten(1), dim=-1)|x.log_softmax(1)>",
)


@dataclass(eq=False)
class _Value:
    name: str
    sample: Any


class _Writer:
    """The lines of a class, and the values that its forward has so far."""

    def __init__(self, seed: int, own_quantizers: bool) -> None:
        self.random = random.Random(seed)
        self.activations = _QUANTIZERS if own_quantizers else _RELUS
        self.parts: dict[str, nn.Module] = {}
        self.constructors: list[str] = []
        self.lines: list[str] = []
        shape = tuple(self.random.randint(*bounds) for bounds in ((1, 4), (4, 9), (4, 9)))
        self.shape = shape
        self.values = [_Value("x0", torch.rand(2, *shape, dtype=torch.float64))]

    def write(self) -> None:
        self.step(_CONVOLUTIONS if self.random.random() < 0.8 else _MAPS)
        self.step(self.activations)
        for _ in range(self.random.randint(1, 7)):
            self.step(self._kind())
        for _ in range(20):
            rank = self.values[-1].sample.dim()
            templates = (
                _ANY_HEADS if self.random.random() < 0.15 else _HEADS.get(rank, ("return x",))
            )
            if self.step(templates, tries=3):
                return
        self.lines.append(f"return {self.values[-1].name}")

    def _kind(self) -> tuple[str, ...]:
        by_rank = {2: _FEATURES, 3: _SEQUENCES, 4: _MAPS}
        linear = by_rank.get(self.values[-1].sample.dim(), _ANY_RANK)
        kinds = {linear: 40, _ANY_RANK: 8, self.activations: 25, _MAX_POOLS: 7, _JOINS: 16}
        kinds |= {_UNUSUAL: 3, _REFUSED: 2}
        return self.random.choices(list(kinds), list(kinds.values()))[0]

    def step(self, templates: tuple[str, ...], tries: int = 12) -> bool:
        """Add a line that PyTorch can execute; False if there was none among some."""
        refused = templates is _REFUSED
        return any(self._try(self.random.choice(templates), refused) for _ in range(tries))

    def _try(self, template: str, may_fail: bool) -> bool:
        x = self.values[-1] if self.random.random() < 0.85 else self.random.choice(self.values)
        same = [v for v in self.values if v is not x and v.sample.shape == x.sample.shape]
        z = self.random.choice(same or self.values)
        line, parts = self._filled(template, x)
        y = f"x{len(self.values)}"
        renamed = {"x": x.name, "y": y, "z": z.name}
        line = re.sub(r"\b[xyz]\b(?!\()", lambda m: renamed[m.group()], line)
        try:
            for name, constructor in parts.items():
                self.parts[name] = eval(constructor, _NAMES)
                self.parts[name].eval().double()
            sample = self._executed(line, y)
        except Exception:
            for name in parts:
                self.parts.pop(name, None)
            if not may_fail or self.random.random() < 0.8:
                return False
            sample = x.sample
        if line.startswith("return"):
            if not torch.utils._pytree.tree_all_only(Tensor, lambda t: t.dim() > 1, sample):
                return False
        elif not isinstance(sample, Tensor) or not (sample.dim() and 0 < sample.numel() <= 4000):
            return False
        self.constructors += [f"self.{name} = {text}" for name, text in parts.items()]
        self.lines.append(line)
        self.values.append(_Value(y, sample))
        return True

    def _filled(self, template: str, x: _Value) -> tuple[str, dict[str, str]]:
        """A template with its choices made, and the constructors of its submodules by name."""
        while choice := re.search(r"<([^<>]*\|[^<>]*)>", template):
            options = choice.group(1).split("|")
            template = template.replace(choice.group(), self.random.choice(options), 1)
        channels, *rest = x.sample.shape[1:] or (1,)
        divisors = [n for n in range(1, channels + 1) if channels % n == 0]
        numbers = {
            "$C": channels, "$W": rest[-1] if rest else 1, "$H": rest[0] if rest else 1,
            "$G": self.random.choice(divisors), "$A": round(self.random.uniform(0.2, 1.6), 3),
        }  # fmt: skip
        for token, number in numbers.items():
            template = template.replace(token, str(number))
        parts: dict[str, str] = {}

        def name_part(match: re.Match[str]) -> str:
            known = [c.split(" = ", 1) for c in self.constructors]
            same = [name for name, text in known if text == match.group(1)]
            if same and self.random.random() < 0.5:
                return self.random.choice(same)  # a shared module
            name = f"m{len(self.constructors) + len(parts)}"
            parts[name] = match.group(1)
            return f"self.{name}"

        return re.sub(r"\[\[(.*?)\]\](?!\])", name_part, template), parts

    def _executed(self, line: str, y: str) -> Any:
        """What a line gives; in-place operations change the sample values, as they will the real ones."""
        owner = nn.Module().eval()
        for name, part in self.parts.items():
            owner.add_module(name, part)
        local = {v.name: v.sample.clone() for v in self.values} | {"self": owner}
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if line.startswith("return "):
                return eval(line.removeprefix("return "), dict(_NAMES), local)
            exec(line, dict(_NAMES), local)
        for value in self.values:
            assert isinstance(local[value.name], Tensor)
        return local[y]


def random_module(seed: int, *, own_quantizers: bool) -> tuple[nn.Module, tuple[int, int, int]]:
    """A module in training mode with random weights and batch-norm statistics, and its input shape.

    Args:
        own_quantizers: its activations are quantizers; otherwise ReLUs, clipped or not.

    Returns:
        The module, which has its text in ``source``, and the shape of its input.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        writer = _Writer(seed, own_quantizers)
        writer.write()
        body = "\n".join(
            [
                "class RandomModule(nn.Module):",
                "    def __init__(self):",
                "        super().__init__()",
                *(f"        {line}" for line in writer.constructors),
                "",
                "    def forward(self, x0):",
                *(f"        {line}" for line in writer.lines),
            ]
        )
        return module_of(body, seed), writer.shape


def module_of(source: str, seed: int = 0) -> nn.Module:
    """The module of a text that defines ``RandomModule``, with random weights and statistics."""
    file = f"<random module {seed}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    names: dict[str, Any] = _NAMES | {"__name__": "random_module"}
    exec(compile(source, file, "exec"), names)
    torch.manual_seed(seed)
    module = names["RandomModule"]()
    module.source = source
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d) and part.running_mean is not None:
            part.running_mean.normal_(0, 0.3)
            part.running_var.uniform_(0.3, 2)
            if part.affine:
                nn.init.uniform_(part.weight, -0.5, 1.5)
                nn.init.normal_(part.bias, 0, 0.3)
    return module


def random_pixels(shape: tuple[int, int, int], seed: int, num: int = 4) -> np.ndarray:
    """Pixels from 0 to 255."""
    return np.random.default_rng(seed).integers(0, 256, (num, *shape))
