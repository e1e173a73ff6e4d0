"""Which verbs there are, without typer: a sweep asks for their names alone."""


class Verb:
    """Where a verb's function is, or its app of further verbs, and what its help shows."""

    def __init__(self, file: str, *examples: str, function: str = "", takes_words: bool = False) -> None:
        """`file`: in this folder, or `room.file` in one below; `function`: empty, it is called as the verb;
        `takes_words`: words of a sweep follow, which typer does not know."""
        self.file, self.examples, self.function, self.takes_words = file, examples, function, takes_words


APP = "app"
VERBS = {
    "completion": Verb("setup.completion", function=APP),
    "data": Verb("setup.data", function=APP),
    "profiles": Verb("setup.profiles", function=APP),
    "audit": Verb(
        "results.audit",
        "audit outputs/vit_b_16-cifar100-vector_t4v2",
        "audit --csv 'runs/*.csv' --map gpus=num_gpus",
        "audit --reference paper_cifar100",
    ),
    "capsule": Verb(
        "results.capsule",
        "capsule vit_tiny_32-digits-local --license CC-BY-4.0",
        "capsule outputs/mine --license CC0-1.0 --author 'Ada Lovelace' --out mine.zip --without-hosts",
    ),
    "check": Verb(
        "check",
        "check outputs/vit_tiny_32-digits-local",
        "check vit_tiny_32-digits-local && tar -cf study.tar outputs/vit_tiny_32-digits-local",
        "check theirs-capsule.zip",
    ),
    "collect": Verb(
        "results.collect",
        "collect outputs/vit_tiny_32-digits-local",
        "collect vit_tiny_32-digits-local --json",
        "collect --csv results.csv --output outputs/theirs",
    ),
    "compare": Verb(
        "results.compare",
        "compare outputs/before outputs/after",
        "compare outputs/ddp outputs/zero1 --across engine",
        "compare outputs/mine --reference paper_cifar100 --across partition",
    ),
    "gate": Verb(
        "results.gate",
        "gate outputs/main --write-baseline baseline.json",
        "gate outputs/mine --against baseline.json --junit gate.xml",
        "gate outputs/mine --against outputs/main --slower 0.02 --strict",
    ),
    "report": Verb(
        "results.report",
        "report outputs/vit_tiny_32-digits-local",
        "report vit_tiny_32-digits-local --proposal",
        "report vit_tiny_32-digits-local --reference paper_cifar100",
    ),
    "reproduce": Verb(
        "results.reproduce",
        "reproduce theirs.zip",
        "reproduce theirs.zip --run partition=local --cells 4",
        "reproduce theirs.zip outputs/mine --across partition",
        "reproduce theirs.zip mine --within 0.1 --across machine",
    ),
    "simulate": Verb(
        "simulate",
        "simulate partition=vector_t4v2 model=vit_b_16 data=cifar100 batch=64",
        "simulate partition=vector_t4v2 gpus=1,8,64 scaling=weak --overlap 0.5",
        "simulate partition=vector_t4v2 --study outputs/vit_b_16-cifar100-vector_t4v2",
    ),
    "explain": Verb("explain", "explain batch_per", "explain zero engine", "explain"),
    "status": Verb(
        "studies", "status outputs/vit_tiny_32-digits-local --watch", "status vit_tiny_32-digits-local --json"
    ),
    "next": Verb(
        "next",
        "next vit_b_16-cifar100-vector_t4v2",
        "next outputs/mine --until 'efficiency(64) +- 3 %' --budget 50",
        function="next_cells",
    ),
    "list": Verb("studies", "list", "list /scratch/me/outputs", function="list_studies"),
    "open": Verb(
        "studies", "open vit_tiny_32-digits-local", "open vit_tiny_32-digits-local --path", function="open_page"
    ),
    "doctor": Verb("setup.doctor", "doctor"),
    "plan": Verb(
        "running", "plan -m gpus=1,2,4 batch=16,32 partition=vector_t4v2", "plan -m gpus=1,2 --json", takes_words=True
    ),
    "resume": Verb(
        "running",
        "resume outputs/vit_b_16-cifar100-vector_t4v2",
        "resume vit_b_16-cifar100-vector_t4v2 --retry time_limit --minutes 240",
    ),
    "cancel": Verb(
        "running", "cancel vit_tiny_32-digits-local", "cancel outputs/vit_tiny_32-digits-local --cells 'n1-g2-*'"
    ),
    "drop": Verb(
        "running",
        "drop vit_tiny_32-digits-local 'gpus==8'",
        "drop vit_tiny_32-digits-local 'gpus==8 and batch==128' 'scaling==weak'",
    ),
    "render-diff": Verb(
        "render_diff",
        "render-diff outputs/before outputs/after",
        "render-diff main HEAD -m gpus=1,8 partition=vector_t4v2",
        "render-diff main HEAD --partitions -m gpus=1,8",
        takes_words=True,
    ),
}
