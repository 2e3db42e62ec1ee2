"""Who speaks for the machine: one process of a tree, whatever happens to it."""

import os
import subprocess
import sys

import pytest

from otel_agent.process_tree import MachineDuty

MEMBER = """
import sys
from otel_agent.process_tree import MachineDuty
duty = MachineDuty()
for _ in sys.stdin:
    print(duty.is_ours(), flush=True)
"""


class Member:
    """A process of the tree that answers whether it has the duty."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", MEMBER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def has_duty(self) -> bool:
        self.process.stdin.write("?\n")
        self.process.stdin.flush()
        return self.process.stdout.readline() == "True\n"


@pytest.fixture
def tree(monkeypatch, tmp_path):
    """Let the processes that are started belong to one tree, the lock of which lies in tmp_path."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("SPANWISE_PROCESS_TREE", str(2**62 - 1))


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks")
def test_when_the_eldest_is_killed_one_other_takes_over(tree):
    """The first to start has the duty, no other has; after its death one has it, and one only."""
    members, before = [], []
    for _ in range(3):
        members.append(Member())
        before.append(members[-1].has_duty())
    members[0].process.kill()
    members[0].process.wait()

    after = [member.has_duty() for member in members[1:]]

    for member in members:
        member.process.communicate()
    assert before == [True, False, False]
    assert after == [True, False]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:This process")
def test_a_forked_child_does_not_inherit_the_duty(tree):
    """The child of the process that has the duty has not, and the parent keeps it."""
    duty = MachineDuty()
    has = [duty.is_ours()]
    pid = os.fork()
    if pid == 0:
        os._exit(duty.is_ours())

    has.append(bool(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))

    assert [*has, duty.is_ours()] == [True, False, True]


def test_two_trees_do_not_know_each_other(tree, monkeypatch):
    """Each has one process with the duty; a number that is none founds a tree, which children inherit."""
    first = Member()
    monkeypatch.setenv("SPANWISE_PROCESS_TREE", "not a number")
    other = MachineDuty()
    child = Member()

    has = first.has_duty(), other.is_ours(), child.has_duty()

    for member in (first, child):
        member.process.communicate()
    assert has == (True, True, False)


def test_without_a_place_to_write_the_founder_has_the_duty(tree, monkeypatch):
    """Its children never take over then."""
    monkeypatch.setenv("TMPDIR", "/nowhere")
    monkeypatch.setenv("SPANWISE_PROCESS_TREE", "")

    founder, child = MachineDuty(), MachineDuty()

    assert (founder.is_ours(), child.is_ours()) == (True, False)
