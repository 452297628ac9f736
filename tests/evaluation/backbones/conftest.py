from pathlib import Path

import pytest
import torch


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of torch's downloads, and no network."""

    def offline(url: str, *arguments: object, **options: object) -> None:
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.setattr("urllib.request.urlopen", offline)
    return tmp_path / "hub"


@pytest.fixture(scope="session")
def images() -> torch.Tensor:
    """Five images in [-1, 1], each another, (5, 3, 20, 24)."""
    smooth = torch.rand(5, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(smooth, (20, 24), mode="bilinear") * 2 - 1
