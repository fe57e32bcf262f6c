import torch

from trainer.training.early_stopping import CLEARLY_WORSE, EarlyStopping, last_epoch


def observed(losses, patience=2):
    """Early stopping after these validation losses. The weight equals the number of the epoch, 0 before the first."""
    weight = torch.zeros(1)
    stopping = EarlyStopping({"weight": weight}, patience)
    for number, loss in enumerate(losses):
        weight.fill_(number)
        stopping.observe(loss)
    return stopping, weight


def test_stops_only_after_consecutive_clearly_worse_epochs():
    worse = 1.0 + 2 * CLEARLY_WORSE
    assert observed([2.0, 1.0, worse, worse])[0].should_stop()
    assert not observed([2.0, 1.0, worse])[0].should_stop()
    assert not observed([2.0, 1.0, worse, 1.0, worse])[0].should_stop()
    assert observed([2.0, 1.0, worse], patience=1)[0].should_stop()


def test_small_increases_are_ignored_and_the_last_weights_kept():
    slightly = 1.0 + CLEARLY_WORSE / 2
    stopping, weight = observed([2.0, 1.0, slightly, slightly, slightly])
    assert not stopping.should_stop()
    stopping.restore_best()
    assert weight.item() == 4


def test_restores_the_best_weights_if_the_last_are_clearly_worse():
    stopping, weight = observed([2.0, 1.0, 3.0])
    stopping.restore_best()
    assert weight.item() == 1


def test_without_validation_never_stops_and_changes_nothing():
    stopping, weight = observed([])
    assert not stopping.should_stop()
    weight.fill_(7)
    stopping.restore_best()
    assert weight.item() == 7


def test_training_ends_one_epoch_after_the_loss_falls_below_its_target():
    assert last_epoch([], 0.02) is None
    assert last_epoch([0.5, 0.02], 0.02) is None
    assert last_epoch([0.5, 0.01], 0.02) == 3
    assert last_epoch([0.5, 0.01, 0.03], 0.02) == 3
