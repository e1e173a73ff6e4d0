"""The methods text: every number of the report with its definition, its formula and who defined it. Pure.

A test holds that the terms which the tables use are all here. `lead` fills in what was set for this study.
"""

from collections.abc import Iterable, Sequence

from launchers.text import plural
from vit_sweep.analysis.laws.fitted import HOLD_OUT_LIMIT, REACH
from vit_sweep.analysis.laws.predicting import WIDEST
from vit_sweep.report.page.content import Formula
from vit_sweep.report.page.mathml import formula, frac, over, root, row, sub, words
from vit_sweep.runs.run import Run

_BASELINE = sub("p", "0")
_RATIO = frac("p", _BASELINE)
_SPEEDUP = frac(row("T(", _BASELINE, ")"), "T(p)")
_LEAST = over("min", "r", sub("c", "r"))


def _define(term: str, text: str, content: str | tuple[str, ...], plain: str, source: str) -> Formula:
    contents = (content,) if isinstance(content, str) else content
    return Formula(term=term, text=text, mathml=formula(*contents, plain=plain), plain=plain, source=source)


METHODS: tuple[Formula, ...] = (
    _define(
        "Epoch time",
        "Wall time of a rank from a barrier before its first step until its device has finished the last; of the job, "
        "the largest over ranks r. Evaluation, imports, rendezvous and checkpoints are not in it. A run's time is the "
        "median over its epochs that count; the time on p GPUs is the median over runs.",
        row("T(p) =", over("median", words("runs"), over("median", words("epochs"), over("max", "r", sub("t", "r"))))),
        "T(p) = median over runs of median over epochs of max over ranks of t_r",
        "vit_sweep/record/stats.py, vit_sweep/analysis/series/series.py",
    ),
    Formula(
        term="Warm-up",
        text="The first epoch of a process is cold: its time is reported apart and joins no other. Statistics of steps "
        "leave out the warm-up steps at its beginning; its other steps are in them. Neither has an epoch that a "
        "restart interrupted, nor the first whole one after it.",
        source="vit_sweep/record/stats.py",
    ),
    _define(
        "Speedup, strong scaling",
        "The work of an epoch is fixed and p grows. The baseline is the smallest GPU count of the same series, never "
        "that of another.",
        row("S(p) =", _SPEEDUP),
        "S(p) = T(p0) / T(p)",
        "Amdahl, Validity of the single processor approach to achieving large scale computing capabilities, 1967",
    ),
    _define(
        "Efficiency, strong scaling",
        "The part of an ideal speedup that was reached.",
        row("E(p) =", frac("S(p)", row("p /", _BASELINE))),
        "E(p) = S(p) / (p / p0)",
        "Amdahl 1967",
    ),
    _define(
        "Efficiency and scaled speedup, weak scaling",
        "The work of an epoch grows with p; ideally the time stays.",
        (row("E(p) =", _SPEEDUP), row("S(p) = E(p) ⋅", _RATIO)),
        "E(p) = T(p0) / T(p), S(p) = E(p) x p / p0",
        "Gustafson, Reevaluating Amdahl's law, 1988",
    ),
    _define(
        "Serial fraction",
        "Determined from the measured speedup. When it rises with p, overhead grows; when it is negative, the "
        "baseline is slow.",
        (row("e =", frac(row(frac("1", "S"), "−", frac("1", "q")), row("1 −", frac("1", "q")))), row("q =", _RATIO)),
        "e = (1/S - 1/q) / (1 - 1/q), q = p / p0",
        "Karp and Flatt, Measuring parallel processor performance, 1990",
    ),
    _define(
        "Isoefficiency",
        "The least work W of a step, in images or FLOPs, with which p GPUs reach an efficiency E. The time of one "
        "image on one GPU is that of the largest batch on the fewest GPUs. Between two measured batches 1/E is a line "
        "in 1/W, as it is where overhead does not depend on W; beyond them only a bound is given.",
        row("E =", frac(row("W", sub("t", "c")), "p T(p, W)")),
        "E = W t_c / (p T(p, W))",
        "Grama, Gupta and Kumar, Isoefficiency: measuring the scalability of parallel algorithms and architectures, "
        "1993; vit_sweep/analysis/isoefficiency.py",
    ),
    Formula(
        term="Time and energy to accuracy",
        text="Training time up to the end of the first epoch whose evaluation has the target, evaluations left out; on "
        "MLPerf Training's clock from the first touch of the data set to the end of that evaluation. Medians over "
        "seeds; the interval also holds that a time is known to the end of an epoch only. Where a seed never reaches "
        "it there is no median, only a bound. Energy is the mean power of all GPUs in training times the training "
        "time; hosts and network are not counted.",
        source="MLPerf Training rules, Run Results and Benchmark Results; Sheppard, On the calculation of the most "
        "probable values of frequency-constants, 1898; docs/study/learning.md",
    ),
    Formula(
        term="Intervals",
        text="95%, from Student's t on the logarithms of run medians; of speedup, efficiency and serial fraction "
        "Welch's. Runs count and not epochs, because epochs of one run share their nodes, clocks and luck. The spread "
        "between runs is pooled over the cells that share model, data set, partition and GPU; a cell whose runs differ "
        "by more (F test, 10%) is judged by its own. What sessions on several days differ by is estimated and "
        "counted. The note under a table says how far runs differ and on how many degrees of freedom that rests. One "
        "run says nothing of its own spread and has no interval.",
        source="Student, The probable error of a mean, 1908; Welch, The generalization of Student's problem, 1947; "
        "Satterthwaite, An approximate distribution of estimates of variance components, 1946; "
        "vit_sweep/analysis/series/pooling.py",
    ),
    _define(
        "Throughput",
        "Images that went through the model in an epoch, of all GPUs; images repeated to fill the last step included.",
        row("X =", frac(words("images of an epoch"), "T(p)")),
        "X = images of an epoch / T(p)",
        "docs/results/measuring.md",
    ),
    _define(
        "Communication and straggler wait",
        "Reducing the gradients takes each rank c_r. The last rank to arrive waits for nobody, so the least over "
        "ranks is communication alone, and what others need beyond it is waiting for a slower rank.",
        (
            row(words("communication"), "=", _LEAST),
            row(words("wait"), "=", over("max", "r", sub("c", "r")), "−", _LEAST),
        ),
        "communication = min over r of c_r, wait = max over r of c_r - min over r of c_r",
        "docs/results/measuring.md",
    ),
    _define(
        "Exposed communication",
        "What no computation hides: steps with collectives less steps without them, in blocks of seeded order after "
        "the training; the median over rounds. Nothing is claimed where its interval (order statistics) does not lie "
        "above zero.",
        row(words("exposed"), "=", sub(words("step"), words("with")), "−", sub(words("step"), words("without"))),
        "exposed = step with collectives - step without them",
        "docs/results/measuring.md",
    ),
    _define(
        "Bus bandwidth",
        "Comparable with a link's speed whatever the number n of ranks; S bytes are reduced in the time t.",
        row(sub("B", words("all-reduce")), "=", frac("2(n − 1)", "n"), "⋅", frac("S", "t")),
        "B = 2 (n - 1) / n x S / t",
        "NVIDIA nccl-tests, doc/PERFORMANCE.md",
    ),
    _define(
        "Model FLOPs utilisation (MFU)",
        "Operations that training must do (three forward passes less the gradient of the pixels, a multiply-add "
        "counted as two, recomputation never counted) over what the GPUs could do at their peak in the run's "
        "precision.",
        row(words("MFU"), "=", frac(row(sub("F", words("train")), "⋅ X"), row("p ⋅", sub("F", words("peak"))))),
        "MFU = train FLOPs per image x X / (p x peak)",
        "Chowdhery et al., PaLM, 2022, appendix B; vit_sweep/plan/predict/vit.py",
    ),
    _define(
        "GPU-hours",
        "What a run costs: all GPUs are held from its start to its end.",
        row("G = p ⋅", frac(words("wall time in s"), "3600")),
        "G = p x wall time / 3600 s",
        "vit_sweep/runs/run.py",
    ),
    _define(
        "Amdahl's law",
        "A part s of the work is serial.",
        row("S(p) =", frac("1", row("s +", frac("1 − s", "p")))),
        "S(p) = 1 / (s + (1 - s) / p)",
        "Amdahl 1967",
    ),
    _define(
        "Gustafson's law",
        "A part s of the time on p GPUs is serial.",
        row("S(p) = p − s(p − 1)"),
        "S(p) = p - s (p - 1)",
        "Gustafson 1988",
    ),
    _define(
        "Universal scalability law",
        "Contention σ, and coherence κ that makes more GPUs slower in the end.",
        row("S(p) =", frac("p", "1 + σ(p − 1) + κ p(p − 1)")),
        "S(p) = p / (1 + σ (p - 1) + κ p (p - 1))",
        "Gunther, Guerrilla capacity planning, 2007",
    ),
    _define(
        "Latency-bandwidth model",
        "An optimizer step of m images per GPU is computation, c seconds an image; waiting for the slowest of p "
        "ranks, whose computation spreads by the part w; and a ring's all-reduce R of S bytes of gradient over a "
        "link of latency λ and bandwidth B, nothing of it hidden. An epoch has k steps.",
        (
            row("T(p) = k(p)(c m(1 + w", root("2 ln p"), ") + R(p))"),
            row("R(p) = 2(p − 1)λ +", frac("2(p − 1)", "p"), "⋅", frac("S", "B")),
        ),
        "T(p) = k(p) (c m (1 + w sqrt(2 ln p)) + R(p)), R(p) = 2 (p - 1) λ + 2 (p - 1) / p x S / B",
        "Thakur, Rabenseifner and Gropp, Optimization of collective communication operations in MPICH, 2005; NVIDIA "
        "nccl-tests, doc/PERFORMANCE.md; Cramér, Mathematical methods of statistics, 1946, section 28.6",
    ),
    Formula(
        term="Fitting",
        text="Robust least squares on relative residuals, one observation a run. Coefficients are times and cannot be "
        "negative; one that would be negative by more than its 99% interval contradicts the law, which is then "
        "refused. Intervals are Student's t on the covariance of the fit without that bound.",
        source="scipy.optimize.least_squares with soft_l1; Lawson and Hanson, Solving least squares problems, 1974; "
        "vit_sweep/analysis/laws/fits.py",
    ),
    Formula(
        term="Comparing laws, predicting",
        text="Each GPU count in turn is held out, the law is fitted to the others and predicts it; the law with the "
        "smallest mean relative error is preferred. A law needs one GPU count more than it has coefficients. A "
        "prediction is for one more run, in the envelope of the 95% intervals of all laws within one standard error "
        "of the preferred one, and of the universal scalability law. Beyond the measured range it goes to "
        f"{REACH:g} times the largest count, from four counts on, only while the held-out errors are within "
        f"{HOLD_OUT_LIMIT:.0%}, and never over a link that no run crossed; an interval wider than a factor of "
        f"{WIDEST:g} is not given. Otherwise the page says in words why nothing is said, and what to run.",
        source="Stone, Cross-validatory choice and assessment of statistical predictions, 1974; "
        "vit_sweep/analysis/laws/predicting.py",
    ),
)


def lead(runs: Iterable[Run], *, versions: Sequence[tuple[str, str]] = ()) -> tuple[str, ...]:
    """What holds for this study: how many runs, repeats, seeds, epochs, warm-up steps, versions."""
    timed = [run for run in runs if run.timed]
    if not timed:
        return ("No run has a time yet; the definitions below are those that its tables will follow.",)
    seeds = _list(run.seed for run in timed)
    means = [run for run in timed if run.published_s is not None and len(run.epoch_s) == 1]
    epochs = _range(len(run.epoch_s) for run in timed if run not in means)
    sentences = [
        f"{plural(len(timed), 'run')} with a time, on {_range(run.gpus for run in timed)} GPUs"
        + (
            f", with {epochs} {'epoch each that counts' if epochs == '1' else 'epochs each that count'}"
            if epochs
            else ""
        )
        + (f"; of {'each' if not epochs else len(means)} the source gives the mean of its epochs only" if means else "")
        + ".",
        f"Seeds: {seeds or 'not recorded'}. A configuration that ran with one seed has n = 1 and no interval.",
    ]
    warm = _list(run.condition("warmup_steps") or None for run in timed)
    if warm:
        sentences.append(f"Steps at the beginning that statistics of steps leave out as warm-up: {warm}.")
    if versions:
        sentences.append(f"Versions: {', '.join(f'{name} {version}' for name, version in versions)}.")
    return tuple(sentences)


def _range(values: Iterable[int]) -> str:
    ordered = sorted(set(values))
    return "" if not ordered else str(ordered[0]) if len(ordered) == 1 else f"{ordered[0]} to {ordered[-1]}"


def _list(values: Iterable[object]) -> str:
    known = {value for value in values if value is not None}
    return ", ".join(str(value) for value in sorted(known, key=lambda value: (str(type(value)), value)))
