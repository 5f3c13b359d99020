"""The rooms of helpers: arrows between them only go down, and no room needs itself through another."""

import ast
import subprocess
import sys

import pytest

import helpers
from helpers.runs import HERE

# each row may import from itself where it is a room, and from rows below it
FLOORS = (
    {"comparing"}, {"score", "predict"}, {"looking"}, {"learning", "scoring", "export", "run", "lab"}, {"cascade", "running"},
    {"intake", "slices"}, {"scans", "crews", "parameters", "origins"}, {"files", "runs", "processes"}, {"together"},
)  # fmt: skip
STRANGERS = {"monai", "segmentation_models_pytorch", "torchvision", "nnunetv2"}  # foreign architectures
HELPERS = HERE / "helpers"


def room_of(path):
    inside = path.relative_to(HELPERS)
    return inside.parts[0].removesuffix(".py")


def imports(path):
    """(module, name) of each import in a file, those within functions included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module, alias.name) for alias in node.names)


FILES = sorted(path for path in HELPERS.rglob("*.py") if path != HELPERS / "__init__.py"
               and not path.is_relative_to(HELPERS / "build"))  # what `pip install ./helpers` leaves there


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(HELPERS).as_posix())
def test_arrows_only_go_down(path):
    floor = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}
    own = room_of(path)
    for module, name in imports(path):
        first, _, rest = module.partition(".")
        room = rest.partition(".")[0] or name
        if first == "helpers" and room in floor and room != own:
            assert floor[room] > floor[own], f"{path.relative_to(HELPERS)} imports {module}.{name}, which lies above or beside it"


def test_every_room_has_a_floor():
    assert {room_of(path) for path in FILES} == set().union(*FLOORS)


def test_no_circle_within_a_room():
    """Modules of one room import each other in one direction."""
    needs = {}
    for path in FILES:
        own = path.relative_to(HELPERS).with_suffix("").as_posix().replace("/", ".")
        said = {f"{module}.{name}".removeprefix("helpers.") for module, name in imports(path) if module.startswith("helpers")}
        needs[own] = said | {needed.rpartition(".")[0] for needed in said}
    left = {name: needed & needs.keys() - {name} for name, needed in needs.items()}
    while free := {name for name, needed in left.items() if not needed}:
        left = {name: needed - free for name, needed in left.items() if name not in free}
    assert not left, f"these import each other in a circle: {', '.join(sorted(left))}"


def test_cascade_knows_neither_batches_nor_figures():
    for path in FILES:
        if room_of(path) == "cascade":
            assert not {module for module, _ in imports(path)} & {"matplotlib", "seaborn", "helpers.learning", "helpers.looking"}


def test_foreign_architectures_have_one_door():
    """Their losses and transforms may be used elsewhere; those who race against us bring their own networks."""
    doors = {path.relative_to(HELPERS).as_posix() for path in FILES if room_of(path) != "comparing"
             for module, name in imports(path)
             if module.partition(".")[0] in STRANGERS and (module, name) != ("monai", "losses")}
    assert doors == {"cascade/architectures.py"}


def test_the_door_knows_every_module_once_and_opens_to_all():
    inside = {path.stem for path in FILES if path.parent != HELPERS and path.stem != "__init__"}
    modules = [module for names in helpers.ROOMS.values() for module in names.split()]
    assert sorted(modules) == sorted(inside)
    flat = [name for names in helpers.NAMES.values() for name in names.split()]
    assert len({*modules, *flat}) == len([*modules, *flat])
    for name in (*modules, *flat):
        assert getattr(helpers, name) is not None
    with pytest.raises(AttributeError, match="helpers has no 'nothing'"):
        _ = helpers.nothing


def test_the_door_loads_nothing():
    code = "import sys, helpers; print([m for m in ('numpy', 'torch', 'pandas', 'matplotlib') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=HERE).stdout.strip() == "[]"


def test_only_networks_need_torch():
    """Scans, rules and the cascade's steps are imported without it: `predict --engine onnx` runs where there is none."""
    code = "import sys; from helpers import predict, pipeline, cohort; print([m for m in ('torch', 'safetensors') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=HERE)
    assert done.stdout.strip() == "[]", done.stderr
