"""sleepy's only entry: `python run.py --help` lists what can be chosen, docs/ says what for."""

import hydra
from omegaconf import DictConfig

from sleepy import cli, options

cli.register()


@hydra.main(version_base="1.3", config_path=str(options.CONF), config_name="config")
def app(config: DictConfig) -> None:
    """One job: Hydra has composed its config."""
    from sleepy import pipeline

    pipeline.run(config)


def main() -> None:
    """The command line."""
    cli.guarded(app)


if __name__ == "__main__":
    main()
