"""The one step of the build that pyproject.toml cannot say: the models of Resources/Models travel in the wheel.

An editable install copies nothing; medddpm.models.registry finds the folder in the clone.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

MODELS = Path("Resources", "Models")
FILES = ("config.json", "model.safetensors", "segmenter.safetensors", "README.md")


class BuildWithModels(build_py):
    """Adds every model folder as ``medddpm/models/bundled/<name>``."""

    def run(self):
        super().run()
        if not self.editable_mode:
            for source, target in self._models().items():
                self.mkpath(str(Path(target).parent))
                self.copy_file(source, target)

    def get_outputs(self, include_bytecode=1):
        return [*super().get_outputs(include_bytecode), *([] if self.editable_mode else self._models().values())]

    def _models(self):
        bundled = Path(self.build_lib, "medddpm", "models", "bundled")
        found = sorted(path for path in MODELS.glob("*/*") if path.name in FILES)
        if not found:
            raise FileNotFoundError(f"There is no model in {MODELS}: the clone or source archive is not complete.")
        return {str(path): str(bundled / path.relative_to(MODELS)) for path in found}


setup(cmdclass={"build_py": BuildWithModels})
