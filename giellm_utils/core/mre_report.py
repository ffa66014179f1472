"""Records of the MRE experiment's results: what `giellm mre ...` writes to results/mre and figures read.

Everything is a share (0 to 1), not per cent.
"""

from __future__ import annotations

from typing import Literal

from giellm_utils.core.artifacts import Artifact, Decoding, Difference

#: "equivalent": no effect larger than the margin; "undecided": neither that nor an effect was shown.
TrialVerdict = Literal["higher", "lower", "equivalent", "undecided"]
Role = Literal["primary", "secondary"]


class TrialScore(Artifact):
    """One metric of one condition: its value for each seed, their mean and standard deviation."""

    task: str
    arm: str
    condition: str
    decoding: Decoding
    metric: str
    texts: int
    seeds: list[int]
    values: list[float]
    mean: float
    #: None with one seed.
    sd: float | None
    n: int


class TrialEffect(Artifact):
    """Condition `a` minus condition `b` on one metric, paired by document and seed.

    `low` to `high`: the primary interval, 95 %, over documents and seeds (evaluation.crossed), and
    `p_value` by the same; `holm_p` over all primary tests that were planned. `tost_p`: of two one-sided
    tests that the difference lies within the margin, and `tost_holm_p` likewise. `seed_low`, `seed_high`:
    t-interval over the seeds' differences, for these documents. `document_low`, `document_high`: bootstrap
    over clusters of documents within the seeds, for these seeds. `document_sd`, `seed_sd`, `residual_sd`:
    components of one document's difference at one seed. `b` may be "text+words", the two single-level
    models side by side.
    """

    role: Role
    task: str
    arm: str
    decoding: Decoding
    metric: str
    a: str
    b: str
    seeds: list[int]
    differences: list[float]
    value: float
    low: float
    high: float
    p_value: float
    holm_p: float | None
    tost_p: float
    tost_holm_p: float | None
    seed_low: float
    seed_high: float
    document_low: float
    document_high: float
    document_sd: float
    seed_sd: float
    residual_sd: float
    n: int
    clusters: int
    verdict: TrialVerdict
    #: Whether equivalence was shown too, for an effect can be real and small.
    within_margin: bool


class TrialMargin(Artifact):
    """What the equivalence test of one primary difference would give at another margin: `p_value` alone and
    adjusted as the verdict's. It describes how much hangs on the margin, and decides nothing."""

    task: str
    metric: str
    b: str
    margin: float
    p_value: float
    holm_p: float


class TrialStratum(Artifact):
    """A primary difference, of a group each of its datasets apart, on the documents with as many gold words
    alone: mean scores over `seeds` and their difference, `low` to `high` 95 % over documents and seeds. It
    describes; nothing is tested."""

    task: str
    metric: str
    a: str
    b: str
    words: str
    seeds: list[int]
    n: int
    a_mean: float
    b_mean: float
    value: float
    low: float
    high: float


class TrialRun(Artifact):
    """What one cell cost, and where it was made; `shared_by`: cells of its training."""

    task: str
    arm: str
    condition: str
    seed: int
    texts: int
    seconds: float
    shared_by: int = 1
    decoding_seconds: dict[Decoding, float]
    steps: int | None = None
    dtype: str | None = None
    machine: str
    git: str


class MreReport(Artifact):
    """analysis.json. `planned`: primary tests that Holm counts, `missing`: comparisons not made and why,
    `left_out`: seeds that a primary comparison could not take and why. `look`: the planned one that this is,
    at `stages` alone; None of what stood when somebody looked (`partial`) and of cells without a plan."""

    look: str | None = None
    stages: list[str] = []
    partial: bool = False
    margin: float
    confidence: float
    planned: int
    missing: list[str]
    left_out: list[str] = []
    scores: list[TrialScore]
    effects: list[TrialEffect]
    runs: list[TrialRun]
    #: Where the primary differences come from.
    strata: list[TrialStratum]
    #: What hangs on the margin.
    margins: list[TrialMargin] = []


class ProbeScore(Artifact):
    """One metric of a probed condition, a value a seed. `told`: what the model was told of the other level
    (gold, predicted, wrong), or whether its label is scored alone or with the gold words after it."""

    task: str
    condition: str
    seeds: list[int]
    n: int
    metric: str
    told: str
    values: list[float]


class ProbeDifference(Artifact):
    """`a` minus `b`, two of the above; `low` to `high` is 95 % over documents and seeds."""

    task: str
    condition: str
    seeds: list[int]
    n: int
    metric: str
    a: str
    b: str
    differences: list[float]
    value: float
    low: float
    high: float


class ProbeReport(Artifact):
    """probes.json; all of it is secondary. `look` and `partial` as in MreReport."""

    look: str | None = None
    partial: bool = False
    scores: list[ProbeScore]
    differences: list[ProbeDifference]


class Tried(Artifact):
    """One value of a key and its score on dev (0 to 1), the mean over datasets and seeds."""

    value: float
    score: float


class Choice(Artifact):
    """What a condition takes, and all that was tried for it, on so many `cells` each."""

    condition: str
    value: float
    tried: list[Tried]
    cells: int


class ChoiceReport(Artifact):
    """choice.json: values of `key` of the section `training`, chosen on dev for each condition."""

    key: str
    choices: list[Choice]


# -- before the experiment ---------------------------------------------------------------------------


class MethodCoverage(Artifact):
    """How often an interval that calls itself 95 % held the true difference, and its mean width."""

    coverage: float
    width: float


class CoverageCase(Artifact):
    """One shape of data. `seed_sd`: standard deviation between seeds of the difference, as it was set."""

    metric: str
    documents: int
    seeds: int
    seed_sd: float
    score: float
    difference: float
    methods: dict[str, MethodCoverage]


class CoverageReport(Artifact):
    """coverage.json. `document_sd`, `condition_sd`: of the latent difficulty, where noise has sd 1."""

    repetitions: int
    resamples: int
    seed: int
    document_sd: float
    condition_sd: float
    cases: list[CoverageCase]


class TailCase(Artifact):
    """How often one-sided tests at the levels of the report are passed where they should not be."""

    task: str
    metric: str
    documents: int
    seeds: int
    seed_sd: float
    errors: list[float]


class TailReport(Artifact):
    """tails.json. `levels`: of one-sided tests, each case's `errors` in their order."""

    repetitions: int
    seed: int
    levels: list[float]
    cases: list[TailCase]


class Detectable(Artifact):
    """The smallest true difference found with the wanted power at one number of documents and seeds.

    `single`: by a test on its own; `first`: at the first step of Holm, as the only effect of all that were
    planned. `margin`, `margin_first`: likewise the smallest margin within which a true difference of zero
    is shown to lie. `no_effect`, `no_effect_first`: how often it is, within the margin of the experiment.
    """

    documents: int
    seeds: int
    single: float
    first: float
    margin: float
    margin_first: float
    no_effect: float
    no_effect_first: float


class PilotOutcome(Artifact):
    """Components of one outcome's difference in the pilot, and what they let a larger design see.

    `seed_sd_high`: upper 80 % confidence limit of seed_sd, of which few seeds tell little.
    """

    task: str
    metric: str
    a: str
    b: str
    documents: int
    seeds: list[int]
    value: float
    document_sd: float
    seed_sd: float
    seed_sd_high: float
    residual_sd: float
    as_measured: list[Detectable]
    at_upper_limit: list[Detectable]


class PowerReport(Artifact):
    """power.json."""

    power: float
    planned: int
    #: Of equivalence, as the experiment plans it.
    margin: float
    outcomes: list[PilotOutcome]


class Predictability(Artifact):
    """How well one thing is predicted in gold: accuracy on test with its 95 % interval over documents."""

    of: str
    source: str
    accuracy: float
    low: float
    high: float


class WordLabels(Artifact):
    """Word labels given the class: bits a word on test without and with knowing the class; the share of
    words whose label is the most frequent one, overall or of the class."""

    words: int
    bits: float
    bits_given_class: float
    accuracy: float
    accuracy_given_class: float


class TaskBound(Artifact):
    """How far each level is predictable from the other in gold alone; None without gold words.

    `gain`: accuracy from text and gold words minus that from the text, paired over documents.
    """

    task: str
    train: int
    test: int
    text_label: list[Predictability]
    gain: Difference
    word_labels: WordLabels | None


class BoundReport(Artifact):
    """bound.json."""

    folds: int
    seed: int
    tasks: list[TaskBound]
