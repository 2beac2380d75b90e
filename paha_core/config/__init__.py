"""The typed form of a preset: every number of a run, checked before anything starts.

A preset is one yaml file (`paha_core/presets/*.yaml`, or a path). Unknown keys and wrong values are
refused by name. Keys that are symbols in the paper carry the symbol in a comment.
"""

from paha_core.config.adapt import AdaptConfig
from paha_core.config.base import Precision, Section, Weights, wrong_keys
from paha_core.config.data import (
    CORPUS_KINDS,
    ClipConfig,
    CnasConfig,
    CorporaConfig,
    CorpusConfig,
    Language,
    ParConfig,
    PatsConfig,
    PoseConfig,
    ShardConfig,
    StudioConfig,
)
from paha_core.config.networks import (
    AudioConfig,
    ClassifierConfig,
    CodecConfig,
    FastConfig,
    NegativeConfig,
    NetworkConfig,
    ReferenceConfig,
    TrainConfig,
    TrainerConfig,
    UniVDMConfig,
    WindowTrainConfig,
)
from paha_core.config.precision import refused_precision
from paha_core.config.preset import (
    Preset,
    PresetError,
    checked,
    derived,
    load_preset,
    preset_names,
)
from paha_core.config.results import (
    FORMS,
    MODES,
    BenchmarkConfig,
    Form,
    GenerationConfig,
    GuidanceConfig,
    GuidedMode,
    Mode,
    Solver,
    SuiteConfig,
)

__all__ = [
    "CORPUS_KINDS",
    "FORMS",
    "MODES",
    "AdaptConfig",
    "AudioConfig",
    "BenchmarkConfig",
    "ClassifierConfig",
    "ClipConfig",
    "CnasConfig",
    "CodecConfig",
    "CorporaConfig",
    "CorpusConfig",
    "FastConfig",
    "Form",
    "GenerationConfig",
    "GuidanceConfig",
    "GuidedMode",
    "Language",
    "Mode",
    "NegativeConfig",
    "NetworkConfig",
    "ParConfig",
    "PatsConfig",
    "PoseConfig",
    "Precision",
    "Preset",
    "PresetError",
    "ReferenceConfig",
    "Section",
    "ShardConfig",
    "Solver",
    "StudioConfig",
    "SuiteConfig",
    "TrainConfig",
    "TrainerConfig",
    "UniVDMConfig",
    "Weights",
    "WindowTrainConfig",
    "checked",
    "derived",
    "load_preset",
    "preset_names",
    "refused_precision",
    "wrong_keys",
]
