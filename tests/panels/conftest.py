"""A front end made of a list: every message a panel sends is kept, and the test speaks for the browser."""

import comm
import pytest
from comm.base_comm import BaseComm


class Wire(BaseComm):
    """The kernel's end of a comm whose messages stay here: `sent` holds (type, data, buffers)."""

    def __init__(self, *args, **kwargs):
        self.sent = []
        super().__init__(*args, **kwargs)

    def publish_msg(self, msg_type, data=None, metadata=None, buffers=None, **keys):
        self.sent.append((msg_type, data or {}, buffers or []))

    def hear(self, data):
        """Deliver a message from the browser."""
        self.handle_msg({"content": {"data": data}, "buffers": [], "metadata": {}})

    def choose(self, **state):
        """Deliver a change of traits from the browser."""
        self.hear({"method": "update", "state": state, "buffer_paths": []})

    def named(self, method, **content):
        """What was sent by one method, whose content or state holds the given entries: (content, buffers)."""
        found = [
            (data.get("content") or data.get("state"), buffers)
            for _, data, buffers in self.sent
            if data.get("method") == method
        ]
        return [(c, b) for c, b in found if content.items() <= c.items()]


@pytest.fixture(autouse=True)
def wire(monkeypatch):
    """Give every widget of the test a Wire."""
    monkeypatch.setattr(comm, "create_comm", Wire)
