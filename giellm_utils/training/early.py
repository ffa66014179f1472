"""Early stopping on the dev loss (training.early_stopping), and the weights that had the lowest."""

from __future__ import annotations

from pathlib import Path

from transformers import TrainerCallback


class KeepBest(TrainerCallback):
    """Stops where the dev loss has not fallen for `patience` evaluations; each leaves a checkpoint.

    All it knows it reads from the state that a checkpoint holds, so a resumed training stops where an
    unbroken one does (the library's callback counts anew).
    """

    def __init__(self, patience: int) -> None:
        self.patience, self.was_over = patience, False

    def _is_over(self, state) -> bool:
        losses = [row["eval_loss"] for row in state.log_history if "eval_loss" in row]
        return bool(losses) and len(losses) - 1 - losses.index(min(losses)) >= self.patience

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        # Killed between its last evaluation and its end: the library makes one step more, which nothing
        # measures or keeps, and takes the best weights.
        self.was_over = self._is_over(state)
        control.should_training_stop |= self.was_over
        # The checkpoint names the best one by its path, and the training's folder may have moved since.
        best = Path(args.output_dir) / f"checkpoint-{state.best_global_step}"
        state.best_model_checkpoint = str(best) if best.exists() else None

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if state.global_step >= state.max_steps and not self.was_over:
            control.should_evaluate = True

    def on_epoch_end(self, args, state, control, **kwargs) -> None:
        if self.was_over:
            control.should_evaluate = control.should_save = False

    def on_evaluate(self, args, state, control, **kwargs) -> None:
        control.should_save = True
        control.should_training_stop |= self._is_over(state)
