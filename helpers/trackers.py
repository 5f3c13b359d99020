"""Where a training's numbers are followed besides the notebook: Fabric's loggers, by name."""

from helpers.given import listed


def named(names, folder):
    """Loggers for a comma list of "csv", "tensorboard" and "wandb"; empty for none.

    wandb works without an account when WANDB_MODE is offline.
    Raises ValueError for an unknown name, ModuleNotFoundError with what to install.
    """
    return [_one(name, folder) for name in listed(names)]


def _one(name, folder):
    if name == "csv":
        from lightning_fabric.loggers import CSVLogger

        return CSVLogger(folder, name="tracked", flush_logs_every_n_steps=1)
    if name == "tensorboard":
        from lightning_fabric.loggers import TensorBoardLogger

        return TensorBoardLogger(folder, name="tensorboard")
    if name == "wandb":
        try:
            from wandb.integration.lightning.fabric import WandbLogger
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("the wandb logger needs: pip install wandb lightning") from error
        return WandbLogger(project="cascade-liver-ct", name=f"{folder.parent.name}-{folder.name}", save_dir=folder)
    raise ValueError(f"logger {name!r}: choose of csv, tensorboard and wandb")
