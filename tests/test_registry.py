"""Registered segmenters, tasks and stylizers: which names they may have, what errors suggest; nothing is built."""

import subprocess
import sys
from pathlib import Path

import pytest

from msst_jax.errors import UnknownNameError, UserError
from msst_jax.models.deeplab import SEGMENTERS as NETWORKS
from msst_jax.models.feedforward_model import ANY_NETWORK, BUILTIN_FILES, EARLIER_NETWORK
from msst_jax.registry import (
    SEGMENTERS,
    STYLIZERS,
    TASKS,
    register_segmenter,
    register_stylizer,
    register_task,
)


def never() -> None:
    pytest.fail("it was built")


def test_names_of_the_package_are_those_that_it_has():
    assert set(SEGMENTERS.reserved) == set(NETWORKS)
    for name in (*BUILTIN_FILES, ANY_NETWORK, EARLIER_NETWORK):  # a file that names it is one of the package
        with pytest.raises(UserError, match=f"architecture '{name}' is taken by the package"):
            register_stylizer(name, never)


@pytest.mark.parametrize("name", ["", "a b", "1st", "a+b", "a=b", "../a", "a.py", None, 3])
def test_a_name_that_could_be_no_file_or_flag_is_refused(name):
    message = "a name is made of letters, digits, _ and -, and starts with a letter"
    with pytest.raises(UserError, match=rf"^segmenter .*: {message}$"):
        register_segmenter(name, never, classes=["sky"])
    with pytest.raises(UserError, match=rf"^task .*: {message}$"):
        register_task(name, never)
    with pytest.raises(UserError, match=rf"^architecture .*: {message}$"):
        register_stylizer(name, never)
    with pytest.raises(UserError, match=message):
        register_segmenter("fine", never, classes=["sky", name])


def test_a_name_that_is_taken_is_refused_unless_it_is_to_be_replaced():
    register_segmenter("mine", never, classes=["sky"])
    with pytest.raises(UserError, match=r"segmenter .mine. is registered already; .* or give replace=True"):
        register_segmenter("mine", never, classes=["sea"])
    assert SEGMENTERS["mine"].classes == ("sky",)
    register_segmenter("mine", never, classes=["sea"], replace=True)
    assert SEGMENTERS["mine"].classes == ("sea",)
    for register, name in ((register_task, "segmenter"), (register_stylizer, "region_stylizer")):
        with pytest.raises(UserError, match=f"'{name}' is taken by the package"):
            register(name, never, replace=True)
    with pytest.raises(UserError, match="segmenter 'person_vgg16' is taken by the package"):
        register_segmenter("person_vgg16", never, classes=["sky"], replace=True)


@pytest.mark.parametrize("classes", [[], ["background"], ["sky", "sky"]])
def test_classes_must_name_each_region_once(classes):
    with pytest.raises(UserError, match=r"^segmenter 'mine' has the classes .*; name each of its regions once$"):
        register_segmenter("mine", never, classes=classes)


def test_the_background_comes_first_wherever_the_channels_have_it():
    register_segmenter("without", never, classes=["sky", "sea"])
    register_segmenter("within", never, classes=["sky", "background", "sea"])
    register_segmenter("one", never, classes="sky")
    assert SEGMENTERS["without"].names == SEGMENTERS["within"].names == ("background", "sky", "sea")
    assert SEGMENTERS["one"].classes == ("sky",)


def test_what_is_no_function_is_refused():
    with pytest.raises(UserError, match="segmenter 'mine': build is 3, and must be a function"):
        register_segmenter("mine", 3, classes=["sky"])
    with pytest.raises(UserError, match="task 'mine': load is None, and must be a function"):
        register_task("mine", None)


def test_an_unknown_name_gets_the_nearest_one_or_all():
    register_task("edges", never)
    with pytest.raises(
        UnknownNameError, match=r"^there is no task .egdes.; did you mean edges\?; one of your own needs"
    ):
        TASKS["egdes"]
    with pytest.raises(UnknownNameError, match="use one of stylizer, any_stylizer, segmenter, edges; one of your"):
        TASKS["x"]
    with pytest.raises(UnknownNameError, match="did you mean region_stylizer"):
        STYLIZERS["region_styliser"]


def test_registering_imports_neither_jax_nor_flax():
    code = (
        "import sys; from msst_jax.registry import *; import msst_jax.registry as r; "
        "r.register_segmenter('sky', lambda: 1 / 0, classes=['sky']); r.register_stylizer('net', lambda: 1 / 0); "
        "r.register_task('edges', lambda: 1 / 0); assert not {'jax', 'flax', 'numpy'} & set(sys.modules)"
    )
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    assert process.returncode == 0, process.stderr
