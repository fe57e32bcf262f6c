import numpy as np
import pytest

from device_app.audio.samples import SAMPLE_RATE
from tests.conftest import write_audio
from trainer.training.augment import augment
from trainer.training.data import TrainingUtterance
from trainer.training.distributed import Group
from trainer.training.loader import Loader, Update
from trainer.training.settings import FineTuningSettings

SETTINGS = FineTuningSettings(augment=True, curriculum_epochs=0, seed=3)


@pytest.fixture
def example(prompt, tmp_path):
    return TrainingUtterance(audio=write_audio(tmp_path / "a.flac", prompt), end=2 * SAMPLE_RATE, tokens=[1])


def read(group, example):
    """The audio of this process's share of a batch with the same utterance for each process."""
    update = Update(5, 1, [example] * group.size, ends_epoch=True)
    ((microbatch,),) = Loader(SETTINGS, group, "cpu", whole_batches=True).read_all([update])
    return microbatch.audio[0, : microbatch.lengths[0]]


def group_of(rank, size):
    group = Group()
    group.rank, group.size = rank, size
    return group


def test_each_process_augments_its_share_with_random_numbers_of_its_own(example):
    first, second, third = (read(group_of(rank, 3), example) for rank in range(3))
    assert len({len(first), len(second), len(third)}) == 3  # of three speeds


def test_a_single_process_and_the_first_of_several_have_the_random_numbers_of_the_seed(example):
    expected = augment(example.read(), np.random.default_rng((SETTINGS.seed, 6, 1)))
    np.testing.assert_array_equal(read(Group(), example), expected)
    np.testing.assert_array_equal(read(group_of(0, 3), example), expected)
