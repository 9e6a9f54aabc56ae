from pathlib import Path
from threading import Event, Thread

from agentkit.engine._disk import count_bytes


def test_bytes_are_counted_in_all_folders(tmp_path: Path) -> None:
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    (tmp_path / "deep" / "a").write_bytes(b"123")
    (tmp_path / "deep" / "deeper" / "b").write_bytes(b"45")
    assert count_bytes(tmp_path) == 5
    assert count_bytes(tmp_path / "gone") == 0


def test_a_folder_that_comes_and_goes_is_counted_without_an_error(tmp_path: Path) -> None:
    over = Event()
    folder = tmp_path / "parts"

    def come_and_go() -> None:
        while not over.is_set():
            folder.mkdir()
            (folder / "part").write_bytes(b"12345678")
            (folder / "part").unlink()
            folder.rmdir()

    thread = Thread(target=come_and_go)
    thread.start()
    try:
        assert all(0 <= count_bytes(tmp_path) <= 8 for _ in range(500))
        assert all(0 <= count_bytes(folder) <= 8 for _ in range(500))
    finally:
        over.set()
        thread.join()
