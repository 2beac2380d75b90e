"""ONNX networks with the inputs and outputs of YOLOX and DWPose-l, and a plausible cost.

Their outputs mean nothing: the person is always in the same box, and the points are random. Only
their time counts. The pose network costs what DWPose-l does (9 billion multiplications a crop), the
person's network as much, where YOLOX-l really takes 78 billion: what is gained by searching less
often is understated.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CROP_W, CROP_H, POINTS, SIDE = 288, 384, 133, 640


class _Graph:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.random = np.random.default_rng(0)
        self.cost = 0  # multiplications

    def constant(self, value: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def add(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def convolution(self, x: str, size: list[int], channels: tuple[int, int], stride: int) -> str:
        """A 3x3 convolution and its rectifier; `size` (height, width) becomes the output's."""
        size[:] = [s // stride for s in size]
        scale = (2 / (9 * channels[0])) ** 0.5
        weights = self.random.normal(0, scale, (channels[1], channels[0], 3, 3))
        self.cost += size[0] * size[1] * 9 * channels[0] * channels[1]
        made = self.add(
            "Conv",
            [x, self.constant(weights.astype(np.float32))],
            kernel_shape=[3, 3],
            pads=[1, 1, 1, 1],
            strides=[stride, stride],
        )
        return self.add("Relu", [made])

    def body(self, x: str, size: list[int], widths: list[int], repeats: int) -> str:
        channels = 3
        for width in widths:
            x = self.convolution(x, size, (channels, width), 2)
            channels = width
        for _ in range(repeats):
            x = self.convolution(x, size, (channels, channels), 1)
        return self.add("GlobalAveragePool", [x])

    def save(self, path: Path, shape: list, outputs: dict[str, tuple[str, list]]) -> None:
        for name, (value, _) in outputs.items():
            self.nodes.append(helper.make_node("Identity", [value], [name]))
        graph = helper.make_graph(
            self.nodes,
            "benchmark",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, form)
                for name, (_, form) in outputs.items()
            ],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 9
        onnx.checker.check_model(model)
        onnx.save(model, path)


def person_network(path: Path, box: tuple[float, float, float, float]) -> int:
    """Always `box` (xyxy at 640 pixels); returns its multiplications."""
    graph = _Graph()
    pooled = graph.body("input", [SIDE, SIDE], [32, 64, 128], 8)
    seen = graph.add("ReduceMean", [pooled], keepdims=0)
    nothing = graph.add("Mul", [seen, graph.constant(np.array(0, np.float32))])
    row = np.array([[[*box, 0.9]]], np.float32)
    found = graph.add("Add", [graph.constant(row), nothing])
    graph.save(path, [1, 3, SIDE, SIDE], {"dets": (found, [1, 1, 5])})
    return graph.cost


def pose_network(path: Path) -> int:
    """133 points somewhere; returns its multiplications."""
    graph = _Graph()
    pooled = graph.body("input", [CROP_H, CROP_W], [64, 128, 256], 8)
    flat = graph.add("Flatten", [pooled])
    outputs = {}
    for name, bins in (("simcc_x", 2 * CROP_W), ("simcc_y", 2 * CROP_H)):
        weights = graph.random.normal(0, 0.1, (256, POINTS * bins)).astype(np.float32)
        wide = graph.add("MatMul", [flat, graph.constant(weights)])
        shape = graph.constant(np.array([-1, POINTS, bins], np.int64))
        outputs[name] = (graph.add("Reshape", [wide, shape]), ["batch", POINTS, bins])
    graph.save(path, ["batch", 3, CROP_H, CROP_W], outputs)
    return graph.cost
