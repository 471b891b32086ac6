"""Train one GAN, score it and return the objective: `python train.py data=mnist_5k model=dcgan loss=hinge`."""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from gan import launch, search  # noqa: F401, both register plugins with Hydra
from gan.errors import Diverged, exit_in_one_line
from gan.run.allowlist import TARGETS
from gan.run.command_line import complete_command
from gan.run.wandb_start import start_wandb
from gan.system.memory import keep_freed_memory
from gan.system.threads import choose_threads


def train(cfg: DictConfig) -> float | tuple[float, ...] | None:
    """Build data, GAN and trainer; fit and score; return the objective, inf if the run diverged."""
    keep_freed_memory()
    threads = choose_threads()  # before torch is imported
    start_wandb(cfg)

    from pytorch_lightning import seed_everything

    from gan import tracking
    from gan.run import outputs
    from gan.run.budget import describe_budget
    from gan.run.build import build_data, build_gan, build_scorer, build_trainer, network_shape
    from gan.run.checks import require_steps
    from gan.run.config import prepare_config
    from gan.run.identity import identify_run, prepare_logger
    from gan.run.implied_choices import describe_implied_choices
    from gan.run.resume import prepare_start
    from gan.system.accelerators import describe_unused_gpu
    from gan.system.console import quiet

    quiet()
    cfg = prepare_logger(prepare_config(cfg))
    start = prepare_start(cfg)
    seed_everything(cfg.seed, workers=True, verbose=False)
    data = build_data(cfg)
    machine = [threads, describe_unused_gpu(cfg.trainer.accelerator)]
    outputs.print_notes([*machine, data.summary, describe_implied_choices(cfg), describe_budget(cfg), start.note])
    cfg = identify_run(cfg, data, start.record)
    gan = build_gan(cfg, network_shape(cfg, data))
    start.require_fit(gan, cfg)
    trainer, evaluation = build_trainer(cfg, data, build_scorer(cfg, data))
    config = outputs.write_config(cfg, network_shape(cfg, data), data.classes)
    with tracking.track_run(trainer.logger, config):
        try:
            trainer.fit(gan, data, ckpt_path=start.path, weights_only=True)
            require_steps(trainer)
            if evaluation.run.evaluated_at != trainer.global_step:
                trainer.validate(gan, data, verbose=False)
        except Diverged as error:
            evaluation.record_divergence(str(error))
        scores = outputs.finish_run(trainer, gan, evaluation, Path(cfg.run_dir))
    return outputs.get_objectives(scores, cfg.objective, cfg.second_objective)


@hydra.main(config_path="conf", config_name="train", execution_whitelist=TARGETS)
def main(cfg: DictConfig) -> float | tuple[float, ...] | None:
    """Run `train`, and end in one line where it raises."""
    from gan.run.ending import guard_run

    with guard_run():
        return train(cfg)


if __name__ == "__main__":
    with exit_in_one_line():
        complete_command()
        main()
