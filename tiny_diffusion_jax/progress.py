"""Progress bar of training."""

from tqdm import tqdm


class TrainingBar(tqdm):
    """Bar with the number of steps, the time left and the losses; `first` is the current step."""

    def __init__(self, first: int, steps: int, is_shown: bool):
        super().__init__(total=steps, initial=first, unit="step", disable=not is_shown,
                         smoothing=0.05, dynamic_ncols=True, desc="train",
                         postfix="compiling, then the first block")  # fmt: skip

    def show(self, row: dict) -> None:
        """Advance to the step of `row`, a row of metrics.jsonl."""
        if not self.disable:
            # Compilation does not count for the time left.
            self.start_t += row.get("compile_seconds", 0.0)
            self.last_print_t = max(self.last_print_t, self.start_t)
            self.set_postfix(losses(row), refresh=False)
            self.update(row["step"] - self.n)


def losses(row: dict) -> dict[str, str]:
    """Return the losses of a row of metrics.jsonl by name, formatted for display."""
    names = {"loss": "loss", "held-out loss": "heldout_loss"}
    return {name: f"{row[key]:.4f}" for name, key in names.items() if row.get(key) is not None}
