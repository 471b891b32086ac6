"""Train one GAN, score it and return the objective: `python train.py data=mnist_5k model=dcgan loss=hinge`."""

import os
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig

from gan.cluster import ClusterLauncher
from gan.machine import MachineLauncher
from gan.search.sweeper import StudySweeper
from gan.trusted import TARGETS


def train(cfg: DictConfig) -> float | tuple[float, ...] | None:
    """Wire up data, GAN, callbacks and trainer; fit and score; return the objective, inf if the run diverged."""
    import torch
    from pytorch_lightning import seed_everything

    from gan import results, tracking
    from gan.callbacks import Evaluation
    from gan.errors import Diverged
    from gan.gan import GAN
    from gan.guards import check, check_processes
    from gan.metrics.scorer import Scorer
    from gan.quiet import quiet
    from gan.runs import HISTORY

    quiet()
    ckpt_path = results.checkpoint(cfg.ckpt_path, Path(cfg.run_dir))
    seed_everything(cfg.seed, workers=True, verbose=False)
    prior, z_dim = instantiate(cfg.prior), cfg.model.generator.z_dim
    n_fakes = cfg.metrics.n_fakes if cfg.metrics.extractor else 100
    data = instantiate(cfg.data, seed=cfg.seed, n_critic=cfg.n_critic, n_fakes=n_fakes, prior=prior, z_dim=z_dim)
    data.setup()
    shape = data.shape if cfg.conditional else data.shape | {"num_classes": 0}
    game = GAN(
        instantiate(cfg.model.generator, **shape),
        instantiate(cfg.model.discriminator, **shape),
        loss=instantiate(cfg.loss),
        penalties=instantiate(cfg.penalty).values(),
        augment=instantiate(cfg.augment),
        optimizer=instantiate(cfg.optimizer),
        schedule=instantiate(cfg.schedule),
        prior=prior,
        n_critic=cfg.n_critic,
        ema_half_life_steps=cfg.ema_half_life_steps,
        ema_ramp_up=cfg.ema_ramp_up,
        gradient_clip_val=cfg.gradient_clip_val,
        weight_clip=cfg.weight_clip,
    )
    check(game, **shape)
    scorer = None
    if cfg.metrics.extractor:
        with torch.random.fork_rng():  # making networks draws their first weights
            extractor = instantiate(cfg.metrics.extractor)
        options = {"reference": cfg.metrics.reference, "cache_dir": cfg.cache_dir}
        scorer = Scorer(extractor, data, conditional=shape["num_classes"] > 0, **options)
    evaluation = Evaluation(scorer, objective=cfg.objective, history=Path(cfg.run_dir) / HISTORY)
    callbacks = [evaluation, *instantiate(cfg.callbacks).values()]
    trainer = instantiate(cfg.trainer, logger=instantiate(cfg.logger) or False, callbacks=callbacks)
    check_processes(trainer)
    config = results.start(cfg, shape)
    with tracking.run(trainer.logger, config):
        try:
            trainer.fit(game, data, ckpt_path=ckpt_path, weights_only=True)
            if evaluation.step != trainer.global_step:
                trainer.validate(game, data, verbose=False)
        except Diverged as error:
            evaluation.record_divergence(str(error))
        scores = results.finish(trainer, game, evaluation, Path(cfg.run_dir))
    return results.values(scores, cfg.objective, cfg.second_objective)


@hydra.main(config_path="conf", config_name="train", execution_whitelist=TARGETS)
def main(cfg: DictConfig) -> float | tuple[float, ...] | None:
    """Run `train`; an error that the user can mend ends a single run in one line."""
    from gan.errors import Preempted, reason

    try:
        return train(cfg)
    except Exception as error:
        line = reason(error)
        if line is None or HydraConfig.get().mode == RunMode.MULTIRUN:
            if isinstance(error, Preempted) and "SUBMITIT_EXECUTOR" not in os.environ:
                raise KeyboardInterrupt from error  # Hydra would go on with the next run in this process
            raise
        sys.exit(f"{'stopped' if isinstance(error, Preempted) else 'error'}: {line}")


if __name__ == "__main__":
    for plugin in (StudySweeper, MachineLauncher, ClusterLauncher):
        Plugins.instance().register(plugin)
    options = {word.partition("=")[0] for word in sys.argv}
    if "hparams_search" in options and not options & {"-m", "--multirun", "-c", "--cfg", "-i", "--info"}:
        sys.argv.append("--multirun")  # which a config group cannot ask for itself
    try:
        main()
    except KeyboardInterrupt as error:
        sys.exit(f"stopped: {error.__cause__ or 'runs that were training are saved as far as they were'}")
