"""The data folder of `imagegen serve`."""

from pathlib import Path

from cli.local.data_folder import locked_data_folder


def test_the_folder_is_private_and_its_lock_is_released(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    for _ in range(2):
        with locked_data_folder(folder):
            assert folder.stat().st_mode & 0o777 == 0o700
