"""What the members of the generated ``tensorrt`` do: a builder, parser, engine, runtime on a CPU.

Each class stands for the class of the same name. It refuses what TensorRT refuses: a free size
without a profile, half precision without its flag in a weakly typed network, with it in a strongly
typed one, an engine of another version or GPU, a shape outside of the profile, and before 10 the
profile that another context of the engine has.
"""

import json
import weakref

import numpy as np

NUMPY = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}
CONVERTING = ("CAST", "IDENTITY", "CONSTANT", "QUANTIZE", "DEQUANTIZE", "SHAPE")
TRT = {name: kind for kind, name in NUMPY.items()}


class World:
    """What the objects of one fake share.

    Attributes:
        builds: how many engines were built.
        tuned: how many kernels were measured because the timing cache lacked them.
        unsupported: ONNX operators that the parser refuses.
        flags: that the last engine was built with.
        plugins: whether they were registered.
        on_host: tensors that hold shapes, which TensorRT wants on the host.
        data_dependent: outputs whose size depends on values.
        networks: the network definitions that were made.
        infers_types: whether layers that calculate tell the type of their outputs before they are
            built; if not, they all say FLOAT.
        contexts_left: how many execution contexts fit into the memory.
        ended: (class, what the GPU's library still held then) of each context, engine and runtime
            that nobody refers to any more.
    """

    def __init__(self, module, cudart, read_model):
        self.module, self.cudart, self.read_model = module, cudart, read_model
        self.builds, self.tuned, self.unsupported, self.contexts_left = 0, 0, set(), 99
        self.networks, self.infers_types, self.flags = [], True, []
        self.plugins, self.on_host, self.data_dependent = False, set(), set()
        self.ended = []
        self.logger, self.alive = None, weakref.WeakSet()

    def init_libnvinfer_plugins(self, logger, namespace):
        self.plugins = True
        return True

    def missing_plugins(self, layers):
        """Operators that TensorRT 8's parser maps to plugins that are not registered."""
        found = {layer.operator for layer in layers} & {"InstanceNormalization", "RoiAlign"}
        return sorted(found) if self.major < 10 and not self.plugins else []

    @property
    def major(self):
        return int(self.module.__version__.split(".")[0])

    @property
    def machine(self):
        """What engines and timing caches are bound to."""
        return [self.module.__version__, *self.cudart.gpu[0:1]]

    def kind(self, text):
        """The class that a signature means: nvinfer1::IParserError is ParserError."""
        name = text.rpartition("::")[2]
        names = [name, name[1:]] if name.startswith("I") else [name]
        found = [self._find(candidate) for candidate in names]
        return next((kind for kind in found if kind is not None), None)

    def _find(self, name):
        kind = self.module
        for part in name.split("."):
            kind = getattr(kind, part, None)
        return kind if isinstance(kind, type) else None

    def new(self, name, part):
        """An object of a class that Python cannot construct."""
        kind = getattr(self.module, name)
        made = kind.__new__(kind)
        object.__setattr__(made, "_part", part)
        self.watch(made)
        return made

    def watch(self, made):
        """Notes the end of an object, as TensorRT's own ends with its last reference."""
        name = type(made).__name__
        if name in ("IExecutionContext", "ICudaEngine", "Runtime"):
            weakref.finalize(made, lambda: self.ended.append((name, self.cudart.live())))

    def enum(self, kind, name):
        return getattr(getattr(self.module, kind), name)

    def host_memory(self, content):
        return self.module.IHostMemory(content)

    def one_logger(self, part, logger):
        """The first that was given while any builder or runtime lives: TensorRT keeps no other."""
        if not self.alive:
            self.logger = logger
        self.alive.add(part)
        return self.logger

    def error(self, logger, text):
        logger.log(self.module.ILogger.Severity.ERROR, text)

    def warn(self, logger, text):
        logger.log(self.module.ILogger.Severity.WARNING, text)

    def need_gpu(self, logger):
        if not self.cudart.devices:
            self.error(logger, "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")


class ILogger:
    def __init__(self, world):
        pass


class IProfiler:
    def __init__(self, world):
        pass


class Builder:
    def __init__(self, world, logger):
        world.need_gpu(logger)
        self.world, self.logger = world, world.one_logger(self, logger)

    def create_network(self, flags=0):
        kinds = self.world.module.NetworkDefinitionCreationFlag
        strong = getattr(kinds, "STRONGLY_TYPED", None)
        typed = strong is not None and bool(flags >> int(strong) & 1)
        if strong is None:
            assert flags >> int(kinds.EXPLICIT_BATCH) & 1, "the parser wants an explicit batch"
        part = INetworkDefinition(self.world, typed or self.world.major >= 11)
        self.world.networks.append(part)
        return self.world.new("INetworkDefinition", part)

    def create_builder_config(self):
        return self.world.new("IBuilderConfig", IBuilderConfig(self.world, self.logger))

    def create_optimization_profile(self):
        return self.world.new("IOptimizationProfile", IOptimizationProfile())

    def build_serialized_network(self, network, config):
        net, conf = network._part, config._part
        refusal = self._refusal(net, conf)
        if refusal:
            self.world.error(self.logger, f"Error Code 4: {refusal}")
            return None
        self.world.builds += 1
        self.world.flags = list(conf.flags)
        conf.cache.measure(len(net.layers), self.world)
        self.world.warn(self.logger, "TensorRT was linked against another cuDNN")
        header = {
            "machine": self.world.machine,
            "profiles": conf.profiles[0].shapes if conf.profiles else {},
            "verbosity": conf.profiling_verbosity.name,
            "path": str(net.path),
        }
        content = json.dumps(header).encode() + b"\n" + net.path.read_bytes()
        return self.world.host_memory(content)

    def _refusal(self, net, conf):
        free = [t for t in net.inputs if -1 in t.shape]
        if free and not conf.profiles:
            return (
                "Network has dynamic or shape inputs, but no optimization profile has been defined."
            )
        if conf.pools.get("WORKSPACE", 0) <= 0:
            return "no workspace"
        types = {t.dtype.name for layer in net.layers for t in layer.outputs}
        quantized = any(layer.type.name == "QUANTIZE" for layer in net.layers)
        if net.strong:
            return f"flags {conf.flags} with a strongly typed network" if conf.flags else ""
        if "HALF" in types and "FP16" not in conf.flags:
            return "Network has half precision but the FP16 flag is not set."
        if quantized and "INT8" not in conf.flags:
            return "Network has Q/DQ layers but the INT8 flag is not set."
        return ""


class INetworkDefinition:
    def __init__(self, world, strong):
        self.world, self.strong, self.inputs, self.layers, self.path = world, strong, [], [], None

    num_inputs = property(lambda self: len(self.inputs))
    num_layers = property(lambda self: len(self.layers))

    def get_input(self, index):
        return self.world.new("ITensor", self.inputs[index])

    def get_layer(self, index):
        return self.world.new("ILayer", self.layers[index])


class ITensor:
    def __init__(self, world, name, shape, dtype):
        self.name, self.shape = name, tuple(shape)
        self.dtype = world.enum("DataType", dtype)


class ILayer:
    def __init__(self, world, name, kind, inputs, outputs):
        self.world, self.name, self.type = world, name, world.enum("LayerType", kind)
        self.inputs, self.outputs, self.precision, self.held = inputs, outputs, None, {}

    num_inputs = property(lambda self: len(self.inputs))
    num_outputs = property(lambda self: len(self.outputs))

    def get_input(self, index):
        tensor = self.inputs[index]
        return None if tensor is None else self.world.new("ITensor", tensor)

    def get_output(self, index):
        return self.world.new("ITensor", self.outputs[index])

    def set_output_type(self, index, dtype):
        self.held[index] = dtype.name


class IOptimizationProfile:
    def __init__(self):
        self.shapes = {}

    def set_shape(self, **arguments):
        name = arguments.pop("input")
        self.shapes[name] = [list(arguments[bound]) for bound in ("min", "opt", "max")]


class IBuilderConfig:
    def __init__(self, world, logger):
        self.world, self.logger = world, logger
        self.pools, self.flags, self.profiles, self.cache = {}, [], [], None
        self.profiling_verbosity = world.enum("ProfilingVerbosity", "LAYER_NAMES_ONLY")

    def set_memory_pool_limit(self, pool, pool_size):
        self.pools[pool.name] = pool_size

    def set_flag(self, flag):
        self.flags.append(flag.name)

    def add_optimization_profile(self, profile):
        self.profiles.append(profile._part)
        return len(self.profiles) - 1

    def create_timing_cache(self, serialized_timing_cache):
        try:
            content = json.loads(serialized_timing_cache.decode() or "{}")
        except ValueError:
            self.world.error(self.logger, "Error Code 1: not a timing cache")
            return None
        machine, kernels = content.get("machine", self.world.machine), content.get("kernels", 0)
        return self.world.new("ITimingCache", ITimingCache(self.world, machine, kernels))

    def set_timing_cache(self, cache, ignore_mismatch):
        if cache._part.machine != self.world.machine and not ignore_mismatch:
            self.world.warn(self.logger, "the timing cache is of another machine")
            return False
        self.cache = cache._part
        return True

    def get_timing_cache(self):
        return self.world.new("ITimingCache", self.cache)


class ITimingCache:
    def __init__(self, world, machine, kernels):
        self.world, self.machine, self.kernels = world, machine, kernels

    def measure(self, layers, world):
        world.tuned += max(0, layers - self.kernels)
        self.kernels = max(layers, self.kernels)

    def serialize(self):
        content = {"machine": self.machine, "kernels": self.kernels}
        return self.world.host_memory(json.dumps(content).encode())


class OnnxParser:
    def __init__(self, world, network, logger):
        self.world, self.network, self.errors = world, network._part, []

    num_errors = property(lambda self: len(self.errors))

    def get_error(self, index):
        return self.world.new("ParserError", self.errors[index])

    def parse_from_file(self, model):
        found = self.world.read_model(model)
        self.errors = [
            ParserError(self.world, index, layer)
            for index, layer in enumerate(found.layers)
            if layer.operator in self.world.unsupported
            or layer.operator in self.world.missing_plugins(found.layers)
        ]
        self.network.path = found.path
        known = {}
        for name, shape, dtype in found.inputs:
            sizes = [size if isinstance(size, int) else -1 for size in shape]
            tensor = ITensor(self.world, name, sizes, self._dtype(TRT[dtype]))
            self.network.inputs.append(tensor)
            known[name] = tensor
        for layer in found.layers:
            kind, types = self._kind(layer.kind), layer.types
            if not self.world.infers_types and kind not in CONVERTING:
                types = {name: "FLOAT" if t == "HALF" else t for name, t in types.items()}
            outputs = [ITensor(self.world, n, (), self._dtype(t)) for n, t in types.items()]
            inputs = [known.get(name) for name in layer.inputs]
            known.update({tensor.name: tensor for tensor in outputs})
            self.network.layers.append(ILayer(self.world, layer.name, kind, inputs, outputs))
        return not self.errors

    def _dtype(self, name):
        """TensorRT 8 has no 64-bit integers."""
        return "INT32" if name == "INT64" and self.world.major < 10 else name

    def _kind(self, name):
        """TensorRT 8.5 has no layer for casts."""
        return name if hasattr(self.world.module.LayerType, name) else "IDENTITY"


class ParserError:
    def __init__(self, world, index, layer):
        self.world, self.index, self.layer = world, index, layer

    def node(self):
        return self.index

    def node_name(self):
        return self.layer.name

    def node_operator(self):
        return self.layer.operator

    def code(self):
        return self.world.enum("ErrorCode", "UNSUPPORTED_NODE")

    def desc(self):
        return f"No importer registered for op: {self.layer.operator}"

    def func(self):
        return "parseNode"

    def file(self):
        return "ModelImporter.cpp"

    def line(self):
        return 7


class Runtime:
    def __init__(self, world, logger):
        world.need_gpu(logger)
        self.world, self.logger = world, world.one_logger(self, logger)

    def deserialize_cuda_engine(self, serialized_engine):
        header, _, content = serialized_engine.partition(b"\n")
        try:
            record = json.loads(header.decode())
        except ValueError:
            self.world.error(self.logger, "Error Code 1: Serialization (Magic tag does not match)")
            return None
        if record["machine"] != self.world.machine:
            self.world.error(self.logger, "Error Code 6: The engine plan file is not compatible")
            return None
        engine = ICudaEngine(self.world, self.logger, record, content)
        missing = self.world.missing_plugins(engine.model.layers)
        if missing:
            self.world.error(
                self.logger, f"Error Code 1: getPluginCreator could not find {missing}"
            )
            return None
        return self.world.new("ICudaEngine", engine)


class ICudaEngine:
    def __init__(self, world, logger, record, content):
        self.world, self.logger, self.record = world, logger, record
        self.holder = lambda: None  # the context that has the profile
        self.model = world.read_model(record["path"], content)
        tensors = [*self.model.inputs, *self.model.outputs]
        self.names = [name for name, _, _ in tensors]
        self.shapes = {name: shape for name, shape, _ in tensors}
        narrow = {"int64": "int32"} if world.major < 10 else {}
        self.dtypes = {name: narrow.get(dtype, dtype) for name, _, dtype in tensors}

    num_io_tensors = property(lambda self: len(self.names))

    def get_tensor_name(self, index):
        return self.names[index]

    def get_tensor_mode(self, name):
        is_input = name in [entry[0] for entry in self.model.inputs]
        return self.world.enum("TensorIOMode", "INPUT" if is_input else "OUTPUT")

    def get_tensor_dtype(self, name):
        return self.world.enum("DataType", TRT[self.dtypes[name]])

    def get_tensor_shape(self, name):
        return tuple(size if isinstance(size, int) else -1 for size in self.shapes[name])

    def get_tensor_location(self, name):
        place = "HOST" if name in self.world.on_host else "DEVICE"
        return self.world.enum("TensorLocation", place)

    def get_tensor_profile_shape(self, name, profile_index):
        assert profile_index == 0
        return self.record["profiles"][name]

    def create_execution_context(self):
        if not self.world.contexts_left:
            self.world.error(self.logger, "Error Code 2: OutOfMemory")
            return None
        self.world.contexts_left -= 1
        taken = self.world.major < 10 and self.holder() is not None
        made = self.world.new("IExecutionContext", IExecutionContext(self, has_profile=not taken))
        if not taken:
            self.holder = weakref.ref(made)
        return made

    def create_engine_inspector(self):
        return self.world.new("EngineInspector", EngineInspector(self))


class EngineInspector:
    """JSON with the keys of the version: TensorRT 11 renamed some."""

    def __init__(self, engine):
        self.engine = engine

    def get_engine_information(self, format):
        assert format.name == "JSON"
        layers = self.engine.model.layers
        if self.engine.record["verbosity"] != "DETAILED":
            return json.dumps({"Layers": [layer.name for layer in layers]})
        new = self.engine.world.major >= 11
        kind = {"Format": "Row major linear", "Datatype": "FP32"}
        old = {"Format/Datatype": "Row major linear FP32 format"}
        entries = [
            {"Name": layer.name, "LayerType": layer.kind, "Outputs": [kind if new else old]}
            for layer in layers
        ]
        return json.dumps({"Layers": entries, "I/O Tensors" if new else "Bindings": []})


class IExecutionContext:
    def __init__(self, engine, *, has_profile):
        self.engine, self.cudart, self.profiler = engine, engine.world.cudart, None
        self.has_profile = has_profile
        self.given, self.addresses, self.seen, self.results = {}, {}, set(), {}

    def set_input_shape(self, name, shape):
        fixed = self.engine.get_tensor_shape(name)
        if -1 in fixed and not self.has_profile:
            text = "Profile 0 has been chosen by another IExecutionContext"
            self.engine.world.error(self.engine.logger, text)
            return False
        low, _, high = self.engine.record["profiles"].get(name, [fixed] * 3)
        if not (len(low) == len(shape) and np.all(np.less_equal(low, shape))) or np.any(
            np.greater(shape, high)
        ):
            self.engine.world.error(self.engine.logger, f"{name}: {shape} violates the profile")
            return False
        self.given[name] = tuple(shape)
        return True

    def get_tensor_shape(self, name):
        if name in self.given:
            return self.given[name]
        sizes = {
            size: given
            for key, shape in self.given.items()
            for size, given in zip(self.engine.shapes[key], shape)  # noqa: B905  (Python 3.8)
        }
        shape = [sizes.get(size, size) for size in self.engine.shapes[name]]
        if name in self.engine.world.data_dependent:
            return (-1, *shape[1:])
        if any(isinstance(size, str) for size in shape):  # the file does not say, a run does
            shape = self._result_shapes()[name]
        return tuple(shape)

    def _result_shapes(self):
        key = tuple(sorted(self.given.items()))
        if key not in self.results:
            types = self.engine.dtypes
            feeds = {name: np.zeros(shape, types[name]) for name, shape in self.given.items()}
            outputs = self.engine.model.run(feeds)
            self.results[key] = {name: array.shape for name, array in outputs.items()}
        return self.results[key]

    def set_tensor_address(self, name, memory):
        assert name in self.engine.names
        self.addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle):
        if set(self.addresses) != set(self.engine.names):
            self.engine.world.error(self.engine.logger, "a tensor has no address")
            return False
        key = tuple(sorted(self.given.items()))
        if self.cudart.capturing(stream_handle) and key not in self.seen:
            self.cudart.spoil_capture(stream_handle)  # it prepares the shape first
            return True
        self.seen.add(key)
        given = dict(self.given)
        self.cudart.do(stream_handle, lambda: self._calculate(given))
        return True

    def _calculate(self, given):
        from fake_cudart import KERNELS_MS

        feeds = {}
        for name, shape in given.items():
            dtype = np.dtype(self.engine.dtypes[name])
            size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
            content = self.cudart.read(self.addresses[name], size)
            feeds[name] = np.frombuffer(content, dtype).reshape(shape)
        for name, array in self.engine.model.run(feeds).items():
            array = np.ascontiguousarray(array.astype(self.engine.dtypes[name]))
            self.cudart.write(self.addresses[name], array.tobytes())
        self.cudart.now_ms += KERNELS_MS
        if self.profiler is not None:
            for layer in self.engine.model.layers:
                self.profiler.report_layer_time(layer.name, 0.5)
