"""Root's privileges, let go of; and another user, for good."""

import os

import _kernel
import _user
import pytest

from tests.sandbox.confined import OTHER_USER, Room, make_room

pytestmark = pytest.mark.skipif(
    not _kernel.landlock_version() or not _kernel.available()["seccomp"],
    reason="this kernel has no Landlock, or no seccomp",
)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to let go of")
def test_root_keeps_no_capability_but_reading(own_room: Room) -> None:
    code = "import _user; print(_user._permitted())"
    assert int(own_room.answer(code, confined=False)) > 1 << 20
    assert own_room.answer(code) == "4"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
class TestDroppingTheUser:
    def test_nothing_of_root_is_left(self, own_room: Room) -> None:
        code = (
            f"import _user; _user.drop_user({OTHER_USER}, keep_reading=False)\n"
            "import os; print(os.getresuid(), os.getresgid(), os.getgroups(), _user._permitted())\n"
            "attempt(os.setuid, 0)"
        )
        ids = (OTHER_USER,) * 3
        assert own_room.answer(code, confined=False) == f"{ids} {ids} [] 0\nEPERM"

    @pytest.mark.parametrize(("keep", "answer"), [(True, "done\ndone"), (False, "EACCES\nEACCES")])
    def test_files_of_root_are_read_only_if_asked(
        self, own_room: Room, keep: bool, answer: str
    ) -> None:
        own_room.secret.chmod(0o600)
        own_room.outside.chmod(0o700)
        code = (
            f"import os, _user; _user.drop_user({OTHER_USER}, keep_reading={keep})\n"
            f"attempt(open, {str(own_room.secret)!r})\nattempt(os.listdir, {str(own_room.outside)!r})"
        )
        assert own_room.answer(code, confined=False) == answer

    def test_files_of_root_are_never_written(self, own_room: Room) -> None:
        code = (
            f"import _user; _user.drop_user({OTHER_USER}, keep_reading=True)\n"
            f"attempt(open, {str(own_room.secret)!r}, 'w')"
        )
        assert own_room.answer(code, confined=False) == "EACCES"

    def test_programs_it_starts_can_read_what_it_can(self, own_room: Room) -> None:
        own_room.secret.chmod(0o600)
        code = (
            f"import os, _user; _user.drop_user({OTHER_USER}, keep_reading=True)\n"
            f"os.execv('/bin/cat', ['cat', {str(own_room.secret)!r}])"
        )
        assert own_room.answer(code, confined=False) == "canary-7301"

    def test_the_limit_of_processes_holds(self) -> None:
        code = (
            "import os, resource; resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))\n"
            "attempt(lambda: os.fork() or os._exit(0))"
        )
        with make_room("dropped") as room:
            assert room.answer(code) == "EAGAIN"
        with make_room("same") as room:
            assert room.answer(code) == "done"

    def test_it_still_ends_with_its_parent(self, own_room: Room) -> None:
        code = (
            "import _user; _kernel.prctl(1, 9)\n"
            f"_user.drop_user({OTHER_USER}, keep_reading=False); print(_user._death_signal())"
        )
        assert own_room.answer(code, confined=False) == "9"

    @pytest.mark.parametrize("uid", [0, -1])
    def test_root_is_no_user_to_drop_to(self, uid: int) -> None:
        with pytest.raises(ValueError, match="not a user to drop to"):
            _user.drop_user(uid, keep_reading=False)
