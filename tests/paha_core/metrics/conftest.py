import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    # Networks this small wait for their threads longer than they compute.
    torch.set_num_threads(1)
