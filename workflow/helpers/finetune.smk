# What a fine-tuning starts from, its options, and its files.

import shlex


def finetune_rope(wildcards):
    """The name of the rope that a training is about."""
    return TRAININGS[wildcards.experiment][wildcards.training][0]


def finetune_corpora(wildcards):
    """The corpora that an experiment trains on."""
    named = FINETUNE[wildcards.experiment].corpora or list(CORPORA)
    return [CORPORA[name] for name in named]


def finetune_options(wildcards):
    """The options of a training that change its outcome."""
    experiment = FINETUNE[wildcards.experiment]
    _, regime, seed = TRAININGS[wildcards.experiment][wildcards.training]
    return experiment.options(regime, seed)


def finetune_layout(wildcards):
    """The options of a training that change no more than where it runs, and when it is saved."""
    keys = {
        "shard",
        "context_parallel",
        "activation_checkpointing",
        "attention",
        "checkpoint_every",
    }
    return flags(FINETUNE[wildcards.experiment].model_dump(include=keys))


# One launcher on each node of a Slurm job, which tells them where to meet: the first node, where `srun` runs too.
MEETING = (
    "--multi_gpu --num_machines $SLURM_NNODES --machine_rank $SLURM_NODEID "
    "--num_processes $((SLURM_NNODES * SLURM_GPUS_ON_NODE)) "
    "--main_process_ip $SLURM_LAUNCH_NODE_IPADDR --main_process_port $((20000 + SLURM_JOB_ID % 10000))"
)


def finetune_launcher(wildcards):
    """What starts a training: one process, or several on one node or more."""
    launcher = FINETUNE[wildcards.experiment].launcher
    wanted = STUDY.resources.finetune
    training = "-m ropewalk.training.finetune"
    if wanted.nodes == 1:
        return f"{launcher} {training}" if launcher else "ropewalk finetune"
    script = f'exec {launcher or "accelerate launch"} {MEETING} {training} "$@"'
    return (
        f"srun --nodes={wanted.nodes} --ntasks={wanted.nodes} --ntasks-per-node=1 --cpus-per-task={wanted.threads} "
        f"--kill-on-bad-exit=1 sh -c {shlex.quote(script)} finetune"
    )


def finetune_resources():
    """Memory and time by attempt, and GPUs, of one node or several."""
    wanted = STUDY.resources.finetune
    if wanted.nodes == 1:
        return stage_resources("finetune")
    return {
        **stage_resources("finetune"),
        "gpu": wanted.nodes * wanted.gpu,
        "nodes": wanted.nodes,
        "tasks": wanted.nodes,
        # Else the executor would also ask for so many tasks on each GPU.
        "tasks_per_gpu": 0,
        # The rule calls `srun` itself; else the executor would put the whole rule into a step of one task.
        "mpi": "srun",
    }


def finetune_untuned(wildcards):
    """The measurements of the model as it was, with the ropes of an experiment."""
    experiment = FINETUNE[wildcards.experiment]
    return [EVALUATIONS[rope] for rope in [*experiment.ropes, *experiment.untuned]]


def finetune_measured(wildcards):
    """The measurements of all trainings of an experiment."""
    folder = FINETUNE_FOLDER.format(**wildcards)
    return [f"{folder}/{name}/measured" for name in TRAININGS[wildcards.experiment]]


def shown_finetune(file, title, caption):
    """A file of the report of a fine-tuning."""
    return shown(
        file,
        "8 Fine-tuning",
        title,
        caption,
        f"{FINETUNE_FOLDER}/report",
        "{experiment}",
    )
