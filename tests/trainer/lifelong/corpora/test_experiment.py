"""Published corpora as experiments, tested on small corpora with the real layout."""

import numpy as np
import pytest
import soundfile

from device_app.data.manifest import read_manifest
from editing.errors import BadInputError
from trainer.lifelong.config import read_experiment
from trainer.lifelong.corpora.experiment import prepare


def audio(path, seconds=1.0, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).standard_normal(round(16_000 * seconds))
    soundfile.write(path, 0.1 * noise, 16_000, **options)


@pytest.fixture
def common_voice(tmp_path):
    folder = tmp_path / "cv"
    rows = ["client_id\tpath\tsentence\taccents"]
    for accent, count in (
        ("Scottish English", 20),
        ("United States English", 15),
        ("England English", 30),
        ("Rare", 2),
    ):
        for number in range(count):
            name = f"{accent[:4]}-{number}.wav"
            audio(folder / "clips" / name, 0.2)
            rows.append(f"{number % 7}-{accent[:4]}\t{name}\tSentence {number}\t{accent}")
    rows.append("someone\tScot-0.wav\tNo accent\t")
    (folder / "validated.tsv").write_text("\n".join(rows) + "\n")
    return folder


def test_common_voice_is_split_by_accent_and_speaker_us_first(common_voice, tmp_path):
    config = prepare("common-voice", common_voice, tmp_path / "out", train=12, test=5)
    experiment = read_experiment(_with_base(config))
    assert experiment.base_domain == "united-states-english"
    assert experiment.order == ["england-english", "scottish-english"]
    for name, path in experiment.manifests.items():
        entries = read_manifest(path)
        speakers = {split: {e.speaker for e in entries if e.split == split} for split in ("train", "test")}
        assert speakers["train"]
        assert speakers["test"]
        assert not speakers["train"] & speakers["test"]
        assert sum(e.split == "test" for e in entries) <= 5
        if name != experiment.base_domain:
            assert sum(e.split == "train" for e in entries) <= 12


def test_accents_have_the_requested_order(common_voice, tmp_path):
    accents = ["Scottish English", "united states english"]
    experiment = read_experiment(_with_base(prepare("common-voice", common_voice, tmp_path / "out", accents=accents)))
    assert (experiment.base_domain, experiment.order) == ("scottish-english", ["united-states-english"])
    with pytest.raises(BadInputError, match="fewer than 10 utterances or 2 speakers of 'rare'; it has england"):
        prepare("common-voice", common_voice, tmp_path / "other", accents=["Rare"])


def test_a_release_in_which_no_accent_is_large_enough_makes_no_experiment(common_voice, tmp_path):
    table = common_voice / "validated.tsv"
    table.write_text("".join(table.read_text("utf-8").splitlines(keepends=True)[:4]), "utf-8")
    with pytest.raises(BadInputError, match="fewer than 10 utterances or 2 speakers of every accent"):
        prepare("common-voice", common_voice, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_accents_in_other_scripts_and_of_one_speaker(tmp_path):
    """Regression: all accents in other scripts had the same empty name; one speaker left no test split."""
    folder = tmp_path / "cv"
    rows = ["client_id\tpath\tsentence\taccents"]
    for accent, speakers in (("ภาคเหนือ", 3), ("ภาคใต้", 2), ("ภาคกลาง", 1), ("Isan!", 2), ("isan", 2)):
        for number in range(12):
            name = f"{len(rows)}.wav"
            audio(folder / "clips" / name, 0.2)
            rows.append(f"{accent}-{number % speakers}\t{name}\tSentence {number}\t{accent}")
    (folder / "validated.tsv").write_text("\n".join(rows) + "\n", "utf-8")
    experiment = read_experiment(_with_base(prepare("common-voice", folder, tmp_path / "out")))
    assert len({*experiment.manifests.values()}) == 4
    for path in experiment.manifests.values():
        assert {one.split for one in read_manifest(path)} == {"train", "test"}


def test_librispeech_keeps_its_own_splits(tmp_path):
    folder = tmp_path / "LibriSpeech"
    for part in ("train-clean-100", "train-other-500", "test-clean", "test-other", "dev-clean"):
        audio(folder / part / "19" / "198" / "19-198-0000.flac")
        (folder / part / "19" / "198" / "19-198.trans.txt").write_text("19-198-0000 NORTHANGER ABBEY\n")
    experiment = read_experiment(_with_base(prepare("librispeech", folder, tmp_path / "out")))
    assert (experiment.base_domain, experiment.order) == ("clean", ["other"])
    lines = read_manifest(experiment.manifests["clean"])
    assert [(line.split, line.text) for line in lines] == [("train", "northanger abbey"), ("test", "northanger abbey")]


def test_ted_lium_talks_are_cut_into_utterances(tmp_path):
    folder = tmp_path / "TEDLIUM_release-3"
    stm = (
        "Talk 1 Talk 0.50 1.75 <o,f0,male> so <unk> it 's a talk(2)\n"
        "Talk 1 Talk 1.75 2.00 <o,f0,male> ignore_time_segment_in_scoring\n"
        "Talk 1 Talk 2.00 3.00 <o,f0,male> {NOISE} second\n"
    )
    for part in (folder / "data", folder / "legacy" / "test"):
        audio(part / "sph" / "Talk.sph", 3.0, format="NIST", subtype="PCM_16")
        (part / "stm").mkdir()
        (part / "stm" / "Talk.stm").write_text(stm)
    config = prepare("ted-lium", folder, tmp_path / "out")
    experiment = read_experiment(config)
    assert experiment.order == ["ted-lium"]
    lines = read_manifest(experiment.manifests["ted-lium"])
    assert [(line.split, line.text) for line in lines] == [
        (split, text) for split in ("train", "test") for text in ("so it's a talk", "second")
    ]
    assert soundfile.info(lines[0].audio).duration == pytest.approx(1.25, abs=0.01)


@pytest.mark.parametrize("corpus", ["common-voice", "librispeech", "ted-lium"])
def test_another_corpus_than_named_is_an_error(tmp_path, corpus):
    audio(tmp_path / "other" / "a.wav")
    (tmp_path / "other" / "a.txt").write_text("hello")
    with pytest.raises(BadInputError, match=r"not a release|not a LibriSpeech|no \.stm"):
        prepare(corpus, tmp_path / "other", tmp_path / "out")


def _with_base(config):
    config.write_text(config.read_text().replace("BUNDLE", "embedded"))
    return config


def test_an_existing_configuration_is_not_replaced(common_voice, tmp_path):
    config = prepare("common-voice", common_voice, tmp_path / "out", train=12, test=5)
    config.write_text("edited")
    with pytest.raises(BadInputError, match="already exists; nothing was changed"):
        prepare("common-voice", common_voice, tmp_path / "out", train=12, test=5)
    assert config.read_text() == "edited"


def test_a_manifest_that_was_edited_is_not_written_again_and_a_killed_run_can_be_repeated(common_voice, tmp_path):
    config = prepare("common-voice", common_voice, tmp_path / "out", train=12, test=5)
    config.unlink()  # it is written last
    prepare("common-voice", common_voice, tmp_path / "out", train=12, test=5).unlink()
    mine = min((tmp_path / "out").glob("*/manifest.jsonl"))
    mine.write_text("edited")
    with pytest.raises(BadInputError, match="is there already; it was not changed"):
        prepare("common-voice", common_voice, tmp_path / "out", train=12, test=5)
    assert mine.read_text() == "edited"
