"""The data sets by name: sizes, shapes, official files and what identifies them. Needs no data.

Everything here is declared, so that a dry run and the audit work on a machine that holds no data;
`softlabels.data.prepare` checks the declarations against the real files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from softlabels.errors import SpecError
from softlabels.grid.spec import DatasetSpec, RunSpec, to_dict


@dataclass(frozen=True)
class RemoteFile:
    """An official file: accepted when its own checksum or those of all its `contents` are the declared ones."""

    name: str
    url: str
    sha256: str
    bytes: int
    contents: tuple[tuple[str, str], ...]
    """(file inside, sha256): what counts when the file lies there unpacked or compressed anew."""


@dataclass(frozen=True)
class DatasetInfo:
    """What is declared of a data set; None where only the user's own files can tell."""

    version: int
    """Raised by hand when the prepared arrays change although the files do not."""
    num_classes: int
    shape: tuple[int, int, int]
    """(C, H, W) of the prepared images; (3, 0, 0) of original files, whose views have the side of the recipe."""
    train_size: int | None
    """Training images before the holdout."""
    test_size: int | None
    holdout: int | float
    """Validation examples taken from training unless the spec says otherwise: a count or a fraction."""
    files: tuple[RemoteFile, ...] = ()
    mean: tuple[float, ...] | None = None
    """Per channel on the [0, 1] scale over the training images; None: measured when prepared."""
    std: tuple[float, ...] | None = None
    class_names: tuple[str, ...] | None = None
    file_bytes: int | None = None
    """Average bytes of an original file, for the audit; None: images are kept as arrays."""
    note: str = ""


# Twenty classes in five families; siblings of one family differ in a detail of a few pixels.
FAMILIES: dict[str, tuple[int, ...]] = {
    name: tuple(range(4 * i, 4 * i + 4)) for i, name in enumerate(("ring", "cross", "arrow", "box", "comb"))
}


def family(class_name: str) -> str:
    """The family of a class of `glyphs`: `ring_2` → `ring`."""
    return class_name.rsplit("_", 1)[0]


_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_CIFAR = "https://www.cs.toronto.edu/~kriz/"
_FINE_LABELS = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy
porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel
streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""


def _idx(name: str, size: int, sha256: str, content: str) -> RemoteFile:
    return RemoteFile(f"{name}.gz", f"{_MNIST}{name}.gz", sha256, size, ((name, content),))


DATASETS: dict[str, DatasetInfo] = {
    "digits": DatasetInfo(
        version=1,
        num_classes=10,
        shape=(1, 8, 8),
        train_size=1258,
        test_size=539,
        holdout=0.15,
        mean=(0.3047,),
        std=(0.3756,),
        class_names=tuple("0123456789"),
        note="handwritten digits of scikit-learn (UCI optdigits, 1797 images); 30 % are the test split",
    ),
    "glyphs": DatasetInfo(
        version=1,
        num_classes=20,
        shape=(1, 16, 16),
        train_size=4000,
        test_size=2000,
        holdout=800,
        mean=(0.1186,),
        std=(0.1862,),
        class_names=tuple(f"{name}_{i}" for name in FAMILIES for i in range(4)),
        note="generated line drawings: five families of four look-alike siblings",
    ),
    "mnist": DatasetInfo(
        version=1,
        num_classes=10,
        shape=(1, 28, 28),
        train_size=60_000,
        test_size=10_000,
        holdout=0.1,
        mean=(0.1307,),
        std=(0.3081,),
        class_names=tuple("0123456789"),
        files=(
            _idx(
                "train-images-idx3-ubyte",
                9_912_422,
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            ),
            _idx(
                "train-labels-idx1-ubyte",
                28_881,
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            ),
            _idx(
                "t10k-images-idx3-ubyte",
                1_648_877,
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            ),
            _idx(
                "t10k-labels-idx1-ubyte",
                4_542,
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            ),
        ),
    ),
    # The binary archives, because the other official form is a pickle.
    "cifar10": DatasetInfo(
        version=1,
        num_classes=10,
        shape=(3, 32, 32),
        train_size=50_000,
        test_size=10_000,
        holdout=10_000,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        files=(
            RemoteFile(
                "cifar-10-binary.tar.gz",
                f"{_CIFAR}cifar-10-binary.tar.gz",
                "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
                170_052_171,
                (
                    ("data_batch_1.bin", "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"),
                    ("data_batch_2.bin", "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"),
                    ("data_batch_3.bin", "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"),
                    ("data_batch_4.bin", "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"),
                    ("data_batch_5.bin", "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"),
                    ("test_batch.bin", "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"),
                ),
            ),
        ),
    ),
    "cifar100": DatasetInfo(
        version=1,
        num_classes=100,
        shape=(3, 32, 32),
        train_size=50_000,
        test_size=10_000,
        holdout=10_000,
        mean=(0.5071, 0.4865, 0.4409),
        std=(0.2673, 0.2564, 0.2762),
        class_names=tuple(_FINE_LABELS.split()),
        files=(
            RemoteFile(
                "cifar-100-binary.tar.gz",
                f"{_CIFAR}cifar-100-binary.tar.gz",
                "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
                168_513_733,
                (
                    ("train.bin", "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29"),
                    ("test.bin", "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a"),
                ),
            ),
        ),
        note="fine labels",
    ),
    "imagenet": DatasetInfo(
        version=2,
        num_classes=1000,
        shape=(3, 0, 0),
        train_size=1_281_167,
        test_size=50_000,
        holdout=50_000,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        file_bytes=115_000,
        note="ILSVRC 2012 as image folders train/<wnid>/ and val/<wnid>/; the official val is our test split",
    ),
    "cub200_2011": DatasetInfo(
        version=1,
        num_classes=200,
        shape=(3, 0, 0),
        train_size=5994,
        test_size=5794,
        holdout=0.1,
        files=(
            RemoteFile(
                "CUB_200_2011.tgz",
                "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
                "0c685df5597a8b24909f6a7c9db6d11e008733779a671760afef78feb49bf081",
                1_150_585_339,
                (),
            ),
        ),
        file_bytes=97_000,
        note="Caltech-UCSD Birds 200 (2011) with its official test split",
    ),
    "tiny_imagenet": DatasetInfo(
        version=1,
        num_classes=200,
        shape=(3, 0, 0),
        train_size=100_000,
        test_size=10_000,
        holdout=0.1,
        files=(
            RemoteFile(
                "tiny-imagenet-200.zip",
                "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
                # As several projects have recorded it; Stanford publishes none.
                "6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821",
                248_100_043,
                (),
            ),
        ),
        file_bytes=2_000,
        note="200 classes of ImageNet at 64×64; the official val is our test split, the official test has no labels",
    ),
}

FOLDER_FILE_BYTES = 100_000  # of an image in a folder of your own, assumed


def info(spec: DatasetSpec) -> DatasetInfo:
    """What is declared of the data set that a spec names.

    Raises:
        SpecError: no data set has this name.
    """
    if spec.name == "folder":
        assert spec.num_classes is not None  # checked by DatasetSpec
        side = spec.image_size or 0
        return DatasetInfo(
            version=1,
            num_classes=spec.num_classes,
            shape=(3, side, side),
            train_size=None,
            test_size=None,
            holdout=0.1,
            file_bytes=FOLDER_FILE_BYTES if spec.keeps_files else None,
            note="image folder of your own",
        )
    if spec.name not in DATASETS:
        names = ", ".join([*DATASETS, "folder"])
        raise SpecError(f"dataset.name: {spec.name!r} is unknown; give one of {names}")
    return DATASETS[spec.name]


def holdout_count(holdout: int | float, size: int) -> int:
    """Validation examples that a count or a fraction takes from `size` training examples.

    Raises:
        SpecError: nothing would be left to train on.
    """
    count = holdout if isinstance(holdout, int) else round(holdout * size)
    if count >= size:
        raise SpecError(f"dataset.holdout takes {count} of {size} training images: nothing is left to train on")
    return count


def sizes(spec: DatasetSpec) -> dict[str, int | None]:
    """Declared examples of train, val and test after holdout and `train_limit`; None where unknown.

    For an image folder `train_size` is what is left for training after the holdout.

    Raises:
        SpecError: unknown name, or a holdout or `train_limit` larger than the training set.
    """
    declared = info(spec)
    if spec.split == "last" and (declared.file_bytes or (not declared.files and declared.class_names is None)):
        raise SpecError("dataset.split: last takes whole classes from images that are sorted by class")
    train, val = spec.train_size, None
    if declared.train_size is not None:
        holdout = declared.holdout if spec.holdout is None else spec.holdout
        val = holdout_count(holdout, declared.train_size)
        train = declared.train_size - val
    if spec.train_limit is not None:
        if train is not None and spec.train_limit > train:
            raise SpecError(f"dataset.train_limit: {spec.train_limit} is more than the {train} training images")
        train = spec.train_limit
    return {"train": train, "val": val, "test": declared.test_size}


def view_shape(run: RunSpec) -> tuple[int, int, int]:
    """(C, H, W) of the images that the network of a run sees."""
    return run.recipe.augment.view_shape(info(run.dataset).shape)


def identity_of(spec: DatasetSpec) -> dict[str, Any]:
    """What decides the prepared data, as JSON values: the spec, the version, the files' sha256.

    Where an image folder lies is left out if its declared sha256 says what it is; else its path says which one it is.
    """
    declared = info(spec)
    described: dict[str, Any] = to_dict(spec)
    if spec.sha256 is not None:
        described.pop("path", None)
    if spec.name != "folder":  # there, no holdout given means: val/ if there is one
        described.setdefault("holdout", declared.holdout)  # a changed default is another split
    return {
        "spec": described,
        "version": declared.version,
        "files": {file.name: file.sha256 for file in declared.files},
    }
