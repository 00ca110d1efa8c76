"""Programs of one seed that train at a time, each on its own part of a mesh.

Teachers, and students on minibatches, train from programs of one seed: each draws its own minibatches, stops early by
itself and has its own checkpoint. The devices at each place of the axis `seeds` are a mesh of their own, where a thread
of this process trains one seed after the other. So the numbers are those of that mesh without `seeds`, to the bit, and
a run may be resumed on any other one. Each part compiles its own programs.
"""

import concurrent.futures
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
from jax.sharding import Mesh

from abkd_jax.graph import place
from abkd_jax.graph.partitioned import row_shardings
from abkd_jax.run.data import PreparedData
from abkd_jax.run.program import Trained
from abkd_jax.training.multihost import are_several
from abkd_jax.training.sharding import in_blocks, put, slices

__all__ = ["in_slices"]

Item = TypeVar("Item")


def in_slices(
    data: PreparedData, items: Sequence[Item], trainer: Callable[[PreparedData], Callable[[Item], Trained]]
) -> list[Trained]:
    """Trains models on the parts of the mesh of the data, as many at a time as its axis `seeds` has places.

    Where one fails, or this thread is interrupted, the others end at their next evaluation or minibatch. Of several
    processes each would start the programs of its threads in another order: there, as on one device, models are trained
    one after the other.

    Args:
        data: the data.
        items: what is trained, such as seeds.
        trainer: makes the function that trains one item; it is called once for each part, with the data there.

    Returns:
        The models in the order of the items, with their variables where those of the data are.
    """
    parts = [] if data.mesh is None or are_several() else slices(data.mesh, "seeds")
    if len(parts) < 2:
        return list(map(trainer(data), items))
    stop, count = threading.Event(), min(len(parts), len(items))
    # Here, since JAX's arrays may be read by one thread at a time where they are on several devices.
    places = [_moved(data, parts[number], stop, number) for number in range(count)]

    def train(number: int) -> list[Trained]:
        run = trainer(places[number])
        return [_back(run(item), data) for item in items[number::count]]

    with concurrent.futures.ThreadPoolExecutor(count, "seeds") as pool:
        try:
            running = [pool.submit(train, number) for number in range(count)]
            for first in concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_EXCEPTION).done:
                first.result()
        except BaseException:
            stop.set()
            raise
    return [running[position % count].result()[position // count] for position in range(len(items))]


def _moved(data: PreparedData, mesh: Mesh, stop: threading.Event, number: int) -> PreparedData:
    """Returns the data on a part of its mesh: in blocks of nodes, or on the first device, which evaluates models."""
    names = ("batch", "labels", "train_mask", "val_mask", "test_mask")
    rows: dict[str, Any] = {name: getattr(data, name) for name in names}
    if in_blocks(mesh):
        graph, rows["batch"] = place(data.batch.graph, mesh), data.batch._replace(graph=None)
        moved = jax.device_put(rows, row_shardings(rows, mesh))
        moved["batch"] = moved["batch"]._replace(graph=graph)
    else:
        moved = jax.device_put(rows, mesh.devices.flat[0])
    profile_dir = data.profile_dir if number == 0 else None  # JAX writes one trace at a time
    return data._replace(**moved, mesh=mesh, stop=stop, profile_dir=profile_dir)


def _back(trained: Trained, data: PreparedData) -> Trained:
    """Returns a model whose variables are where those of the data are: on the whole mesh with blocks of nodes."""
    variables = trained.variables, trained.best_variables
    if in_blocks(data.mesh):
        last, best = put(variables, data.mesh)
    else:
        last, best = jax.device_put(variables, data.labels.sharding)
    return trained._replace(variables=last, best_variables=best)
