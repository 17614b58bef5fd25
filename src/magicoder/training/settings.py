"""Everything that decides a training run, as one typed value. Pure Python: nothing here loads torch."""

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from magicoder.protocols import NOT_IDENTITY

MODES: Final = ("clean", "paper-exact")
OPTIMIZERS: Final = ("adafactor", "adamw", "adamw_8bit")
LAYOUTS: Final = ("auto", "packed", "sorted", "rows")
SCHEDULES: Final = ("linear", "cosine", "constant")
STRATEGIES: Final = ("auto", "ddp", "fsdp2")
DTYPES: Final = ("bfloat16", "float32")
TEMPLATES: Final = ("magicoder", "chat")
BOUNDARIES: Final = ("separate", "joint")
DEVICES: Final = ("auto", "cpu", "cuda")
BACKENDS: Final = ("own", "trl")


def _one_of(value: str, known: Sequence[str], name: str) -> None:
    if value not in known:
        near = difflib.get_close_matches(value, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"{name} is one of {', '.join(known)}, not {value!r}{hint}")


def _at_least(value: float, least: float, name: str) -> None:
    if not (value >= least and math.isfinite(value)):
        raise ValueError(f"{name} is {value}; it must be at least {least}")


def _above_zero(value: float, name: str) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} is {value}; it must be above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The model to start from.

    model              a folder with a model as transformers writes it, or a name on the Hugging Face hub
    revision           branch, tag or commit on the hub
    tokenizer          folder or name of the tokenizer; "": the model's own
    random_weights     take the configuration only and draw the weights from `random_seed`: for tests and measurements
    trust_remote_code  run Python code that comes with the model
    """

    model: str
    revision: str = ""
    tokenizer: str = ""
    random_weights: bool = False
    trust_remote_code: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One pass of fine-tuning; the next one starts from its result.

    data        dataset folders, Parquet or JSON Lines files, or `hub:NAME`; read in this order
    columns     names of columns where they are not the usual ones: `{instruction: problem, response: solution}`
    epochs      how often every example is seen
    max_length  tokens of an example, special tokens included; what is longer is cut on the right and counted
    max_examples  reads no more than these; 0: all
    learning_rate, warmup_steps  of this stage; none: those of `optimization`
    """

    name: str
    data: tuple[str, ...]
    columns: dict[str, str] = field(default_factory=dict)
    epochs: int = 2
    max_length: int = 1216
    max_examples: int = 0
    learning_rate: float | None = None
    warmup_steps: int | None = None

    def __post_init__(self) -> None:
        if not self.name or self.name.startswith(".") or "/" in self.name:
            raise ValueError(f"name is {self.name!r}; it becomes a folder: no slash, no dot in front")
        if not self.data:
            raise ValueError(f"stage {self.name} has no data; name a dataset folder or file under `data:`")
        _at_least(self.epochs, 1, "epochs")
        _at_least(self.max_length, 2, "max_length")
        _at_least(self.max_examples, 0, "max_examples")
        if self.learning_rate is not None:
            _above_zero(self.learning_rate, "learning_rate")
        _at_least(self.warmup_steps or 0, 0, "warmup_steps")


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """How a row becomes tokens.

    template     `magicoder` (the paper's) or `chat` (the tokenizer's chat template)
    boundary     `separate`: prompt and response are tokenized apart, as in the original; `joint`: as one text, which is
                 what a model sees when it is served
    train_on     `last`: the last response; `all`: every response of a talk
    """

    template: str = "magicoder"
    boundary: str = "separate"
    train_on: str = "all"

    def __post_init__(self) -> None:
        _one_of(self.template, TEMPLATES, "template")
        _one_of(self.boundary, BOUNDARIES, "boundary")
        _one_of(self.train_on, ("last", "all"), "train_on")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """How examples form steps and micro-batches.

    examples             of a step, over all processes (the paper: 512)
    layout               `packed`: examples one behind the other, kept apart by the attention; `sorted`: rows of like
                         length, padded on the right; `rows`: the order as it comes, padded (the original); `auto`:
                         packed where the device has attention for it, else sorted
    micro_batch_tokens   tokens computed at once on a device (`packed`, `sorted`), padding included
    micro_batch_rows     examples computed at once (`rows`; the paper: 2)
    processes            `paper-exact`: of the run whose order of examples is followed, whatever runs it (the paper: 2)
    share_prefix         `packed`: what all examples of a stage begin with, say a system prompt, is computed once a row
    """

    examples: int = 512
    layout: str = "auto"
    micro_batch_tokens: int = 16_384
    micro_batch_rows: int = 2
    processes: int = 2
    share_prefix: bool = True

    def __post_init__(self) -> None:
        _one_of(self.layout, LAYOUTS, "layout")
        _at_least(self.examples, 1, "examples")
        _at_least(self.micro_batch_tokens, 1, "micro_batch_tokens")
        _at_least(self.micro_batch_rows, 1, "micro_batch_rows")
        _at_least(self.processes, 1, "processes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimization:
    """The optimizer and its schedule; the defaults are the paper's.

    optimizer       `adafactor` (as transformers has it, without relative steps), `adamw`, `adamw_8bit` (bitsandbytes)
    max_grad_norm   0: no clipping
    betas, epsilon  of AdamW
    """

    optimizer: str = "adafactor"
    learning_rate: float = 5e-5
    schedule: str = "linear"
    warmup_steps: int = 15
    weight_decay: float = 0.0
    max_grad_norm: float = 0.0
    betas: tuple[float, ...] = (0.9, 0.999)
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        _one_of(self.optimizer, OPTIMIZERS, "optimizer")
        _one_of(self.schedule, SCHEDULES, "schedule")
        _above_zero(self.learning_rate, "learning_rate")
        _above_zero(self.epsilon, "epsilon")
        _at_least(self.warmup_steps, 0, "warmup_steps")
        _at_least(self.weight_decay, 0, "weight_decay")
        _at_least(self.max_grad_norm, 0, "max_grad_norm")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas are {list(self.betas)}; give two numbers from 0 to below 1, e.g. [0.9, 0.999]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """In which numbers the weights live and the products are made.

    weights   `bfloat16` or `float32`, of the model that computes
    master    keeps an exact float32 beside bfloat16 weights (16 more bits a weight); without it most small updates are
              lost to rounding. `paper-exact` has none
    fp8       products of linear layers in 8 bits where the device can (H100 and later)
    """

    weights: str = "bfloat16"
    master: bool = True
    fp8: bool = False

    def __post_init__(self) -> None:
        _one_of(self.weights, DTYPES, "weights")


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """LoRA: small matrices are trained beside weights that stand still.

    targets     names of modules; empty: all linear layers but the head
    quantized   QLoRA: the weights that stand still are kept in 4 bits (bitsandbytes, a GPU)
    merge       also write the model with the adapters added in
    """

    rank: int = 64
    alpha: float = 16.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ()
    quantized: bool = False
    merge: bool = True

    def __post_init__(self) -> None:
        _at_least(self.rank, 1, "rank")
        _above_zero(self.alpha, "alpha")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; it is a share from 0 to below 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where it runs; nothing here changes a result beyond rounding.

    device        auto, cpu, cuda
    processes     on this machine, one a GPU; 0: one for each GPU there is. Several machines: start `torchrun` yourself
    strategy      `ddp`: every process holds the model; `fsdp2`: it is spread; `auto`: ddp where it fits
    checkpointing recomputes activations instead of keeping them (a third more work, far less memory)
    compile       compiles the layers (GPU)
    deterministic the same bits each time on a GPU, too: nothing is added in an order that chance decides
    """

    device: str = "auto"
    processes: int = 0
    strategy: str = "auto"
    checkpointing: bool = False
    compile: bool = False
    deterministic: bool = True

    def __post_init__(self) -> None:
        _one_of(self.device, DEVICES, "device")
        _one_of(self.strategy, STRATEGIES, "strategy")
        _at_least(self.processes, 0, "processes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoints:
    """What is kept so that nothing computed is lost.

    every_steps   0: at the end of a stage only (and when asked to stop)
    keep          the last so many
    average       also write the mean of the weights of the last so many checkpoints; 0: no
    """

    every_steps: int = 50
    keep: int = 2
    average: int = 0

    def __post_init__(self) -> None:
        _at_least(self.every_steps, 0, "every_steps")
        _at_least(self.keep, 1, "keep")
        _at_least(self.average, 0, "average")
        if self.average == 1:
            raise ValueError("average is 1, and the mean of one checkpoint is the model itself; give 2 or more, or 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """Examples set aside before training, to see the loss on what was not learned.

    examples      so many of each stage; 0: none
    every_steps   0: before the first and after the last step of a stage only
    """

    examples: int = 0
    every_steps: int = 0

    def __post_init__(self) -> None:
        _at_least(self.examples, 0, "examples")
        _at_least(self.every_steps, 0, "every_steps")


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A training run as one value.

    mode    `paper-exact`: the original to the token: bfloat16 weights without a master, the mean of micro-batches'
            means, rows of two, no step at lr 0 repaired. `clean`: an exact float32 master, the mean over all trained
            tokens of a step, packed batches. The two do not give equal models at an equal learning rate
            (docs/training.md)
    backend `own`: this package's loop. `trl`: TRL's SFTTrainer, to compare with it (docs/training.md says what is lost)
    boards  who else is told each step's figures: `tensorboard`, `wandb`, `mlflow`, if installed
    """

    name: str
    base: Base
    stages: tuple[Stage, ...]
    mode: str = "clean"
    backend: str = "own"
    random_seed: int = 42
    examples: Examples = field(default_factory=Examples)
    batches: Batches = field(default_factory=Batches)
    optimization: Optimization = field(default_factory=Optimization)
    precision: Precision = field(default_factory=Precision)
    adapter: Adapter | None = None
    machine: Machine = field(default_factory=Machine, metadata=NOT_IDENTITY)
    checkpoints: Checkpoints = field(default_factory=Checkpoints, metadata=NOT_IDENTITY)
    held_out: HeldOut = field(default_factory=HeldOut)
    boards: tuple[str, ...] = field(default=(), metadata=NOT_IDENTITY)

    def __post_init__(self) -> None:
        _one_of(self.mode, MODES, "mode")
        _one_of(self.backend, BACKENDS, "backend")
        if not self.name or self.name.startswith(".") or "/" in self.name:
            raise ValueError(f"name is {self.name!r}; it becomes a folder below runs/: no slash, no dot in front")
        if not self.stages:
            raise ValueError("stages is empty; name at least one stage with its data")
        if self.adapter is not None and not self.adapter.merge and len(self.stages) > 1:
            raise ValueError("adapter.merge is false, and a later stage needs the merged model; set it to true")
        names = [stage.name for stage in self.stages]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two stages are called {', '.join(sorted(twice))}; each needs a name of its own")
        if self.backend == "trl":
            self._refuse_for_trl()

    def _refuse_for_trl(self) -> None:
        """See that nothing is asked for that TRL's trainer cannot do."""
        cannot = {
            "mode: paper-exact (take clean)": self.is_exact,
            "precision.master (set it to false, or weights: float32)": self.has_master,
            f"batches.layout: {self.batches.layout} (take rows)": self.batches.layout in ("packed", "sorted"),
            "precision.fp8": self.precision.fp8,
            "machine.strategy: fsdp2 (take ddp)": self.machine.strategy == "fsdp2",
            "checkpoints.average": self.checkpoints.average > 0,
        }
        if asked := [name for name, is_asked in cannot.items() if is_asked]:
            raise ValueError(f"backend: trl cannot do {', '.join(asked)}; change that, or set backend: own")

    @property
    def layout(self) -> str:
        """The layout that is asked for, where there is a choice."""
        return "rows" if self.is_exact or self.backend == "trl" else self.batches.layout

    @property
    def is_exact(self) -> bool:
        """Whether the original is followed to the token."""
        return self.mode == "paper-exact"

    @property
    def has_master(self) -> bool:
        """Whether an exact float32 of each weight is kept beside bfloat16."""
        return self.precision.master and not self.is_exact and self.precision.weights == "bfloat16"

    def optimization_of(self, stage: Stage) -> Optimization:
        """Return the stage's optimization: the common one, and what the stage says otherwise."""
        whole = self.optimization
        return replace(
            whole,
            learning_rate=whole.learning_rate if stage.learning_rate is None else stage.learning_rate,
            warmup_steps=whole.warmup_steps if stage.warmup_steps is None else stage.warmup_steps,
        )
